package main

import "github.com/prometheus/procfs"

// A meter reads what each server process has used since it started.
type meter func() ([]Usage, error)

// Usage is what one process has used.
type Usage struct {
	CPU     float64 // seconds, its waited-for children included
	RSS     int64   // bytes
	PeakRSS int64   // bytes
	Written int64   // bytes sent to storage
}

func processes(pids []int) meter {
	return func() ([]Usage, error) {
		usages := make([]Usage, len(pids))
		for i, pid := range pids {
			var err error
			if usages[i], err = usageOf(pid); err != nil {
				return nil, err
			}
		}
		return usages, nil
	}
}

func usageOf(pid int) (u Usage, err error) {
	const ticksPerSecond = 100 // USER_HZ, the same on every Linux that Go runs on
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return u, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return u, err
	}
	status, err := proc.NewStatus()
	if err != nil {
		return u, err
	}
	io, err := proc.IO()
	if err != nil {
		return u, err
	}
	u.CPU = (float64(stat.UTime+stat.STime) + float64(stat.CUTime+stat.CSTime)) / ticksPerSecond
	u.RSS = int64(status.VmRSS)
	u.PeakRSS = int64(status.VmHWM)
	u.Written = int64(io.WriteBytes)
	return u, nil
}

// machineCPU is the CPU time, in seconds, that all cores have been busy.
func machineCPU() (float64, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return 0, err
	}
	t := stat.CPUTotal
	return t.User + t.Nice + t.System + t.IRQ + t.SoftIRQ + t.Steal, nil
}

// Cost is what the servers used during a measurement.
type Cost struct {
	CPUSeconds   float64 `json:"cpu_s"`
	CPUPerOp     float64 `json:"cpu_us_per_op"`
	CPUPerKop    float64 `json:"cpu_s_per_1000_ops"`
	WrittenPerOp float64 `json:"written_bytes_per_op"`
	PeakRSS      []int64 `json:"peak_rss_bytes"` // of each process since it started
	DataBytes    int64   `json:"data_bytes,omitempty"`
}

func newCost(before, after []Usage, ops int64) *Cost {
	var c Cost
	var written int64
	for i := range after {
		c.CPUSeconds += after[i].CPU - before[i].CPU
		written += after[i].Written - before[i].Written
		c.PeakRSS = append(c.PeakRSS, after[i].PeakRSS)
	}
	c.CPUPerOp = perOp(c.CPUSeconds*1e6, ops)
	c.CPUPerKop = perOp(c.CPUSeconds*1e3, ops)
	c.WrittenPerOp = perOp(float64(written), ops)
	return &c
}

func (c *Cost) peakRSS() (total int64) {
	for _, rss := range c.PeakRSS {
		total += rss
	}
	return total
}
