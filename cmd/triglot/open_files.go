package main

import (
	"os"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
)

// openFiles tells how many files and connections the process has open, where the system says so in /proc/self/fd.
type openFiles struct{}

var (
	filesUsed  = describe("os_fd_used", "Files and connections that are open.")
	filesLimit = describe("os_fd_limit", "How many may be.")
)

func (openFiles) Describe(out chan<- *prometheus.Desc) { out <- filesUsed; out <- filesLimit }

func (openFiles) Collect(out chan<- prometheus.Metric) {
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		out <- prometheus.MustNewConstMetric(filesUsed, prometheus.GaugeValue, float64(len(open)))
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		out <- prometheus.MustNewConstMetric(filesLimit, prometheus.GaugeValue, float64(limit.Cur))
	}
}
