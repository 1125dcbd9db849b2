package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

const (
	chunkBytesMax = 256 << 10
	chunkBytesMin = 4 << 10
	// triesMax is how often a receiver may break off without having got more than before.
	triesMax = 10
	// finishesMax is how often the receiver may find something wrong with what it got before the snapshot is given up: its
	// files are then damaged here.
	finishesMax = 5
)

// chunkBytes is how much of a file goes at a time. With a low rate it is less, so that a snapshot flows evenly: a tenth of
// a second's worth. It is what the limiter allows at once.
func chunkBytes(perSecond int64) int {
	if perSecond <= 0 {
		return chunkBytesMax
	}
	return int(min(max(perSecond/10, chunkBytesMin), chunkBytesMax))
}

// errGivenUp marks failures of a snapshot that trying again does not mend.
var errGivenUp = errors.New("the snapshot is given up")

// sending is a snapshot on its way to a member.
type sending struct {
	p       *peer
	message *raftpb.Message
	files   []raftlog.SnapshotFile
	from    raftlog.Snapshot

	lifetime context.Context
	cancel   context.CancelCauseFunc
	renewed  chan struct{} // holds a token when the next attempt need not wait
	ended    chan struct{}

	mu      sync.Mutex // guards what follows
	attempt context.CancelCauseFunc

	first atomic.Uint32 // which of the addresses is tried first
	most  int64         // bytes that the receiver had when it was asked, at most
}

// SendSnapshot sends on a goroutine of its own. Another snapshot on its way to the same member is given up.
func (t *Transport) SendSnapshot(m *raftpb.Message, s raftlog.Snapshot, done func(error)) {
	t.spawn(func() {
		p := t.peer(m.GetTo())
		if p == nil {
			done(fmt.Errorf("%w: no member %s is known", raftlog.ErrUnreachable, memberName(m.GetTo())))
			return
		}
		err := p.sendSnapshot(m, s)
		if err == nil {
			p.counts.snapshotsSent.Add(1)
		} else {
			p.counts.snapshotsSendFailed.Add(1)
		}
		done(err)
	})
}

func (p *peer) sendSnapshot(m *raftpb.Message, from raftlog.Snapshot) error {
	s := &sending{
		p: p, message: m, files: from.Files(), from: from,
		renewed: make(chan struct{}, 1), ended: make(chan struct{}), most: -1,
	}
	s.lifetime, s.cancel = context.WithCancelCause(p.lifetime)
	defer s.cancel(nil)
	defer close(s.ended)
	defer context.AfterFunc(p.t.accepting, func() { s.cancel(errDrained) })()

	p.mu.Lock()
	before := p.sending
	p.sending = s
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.sending == s {
			p.sending = nil
		}
	}()
	if before != nil {
		before.cancel(fmt.Errorf("%w: a newer one follows", errGivenUp))
		<-before.ended
	}

	began := time.Now()
	p.log.Info("sending a snapshot", "index", m.GetSnapshot().GetMetadata().GetIndex(), "files", len(s.files), "bytes", totalBytes(s.files))
	err := s.run()
	if err != nil {
		p.log.Warn("sending a snapshot failed", "index", m.GetSnapshot().GetMetadata().GetIndex(), "err", err)
		return err
	}
	p.log.Info("snapshot sent", "index", m.GetSnapshot().GetMetadata().GetIndex(), "took", time.Since(began).Round(time.Millisecond))
	return nil
}

func totalBytes(files []raftlog.SnapshotFile) (n int64) {
	for _, f := range files {
		n += f.Bytes
	}
	return n
}

func (s *sending) renew(why error) {
	select {
	case s.renewed <- struct{}{}:
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attempt != nil {
		s.attempt(why)
	}
}

func (s *sending) begin(cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempt = cancel
}

// run tries until the receiver has everything. It gives up when the receiver does not answer an offer for some time, or
// answers many without getting on.
func (s *sending) run() error {
	t := s.p.t
	wait := newPauses(t.timing.pause, t.timing.pauseMax)
	patience := time.NewTimer(t.timing.snapshotPatience)
	defer patience.Stop()
	for tries := 0; ; { // that were answered, and brought nothing
		answered, progress, err := s.try()
		refused := refusalOf(err)
		switch {
		case err == nil:
			return nil
		case s.lifetime.Err() != nil:
			return fmt.Errorf("%w: %w", raftlog.ErrUnreachable, context.Cause(s.lifetime))
		case refused != nil:
			s.p.down(classBulk, refused)
			return fmt.Errorf("%w: %w", raftlog.ErrUnreachable, refused)
		case errors.Is(err, errGivenUp):
			return err
		case progress:
			tries = 0
			wait.reset()
		case answered:
			if tries++; tries >= triesMax {
				return fmt.Errorf("%w: %w", errGivenUp, err)
			}
		}
		if answered {
			patience.Reset(t.timing.snapshotPatience)
		}
		s.p.log.Debug("a snapshot was cut off", "err", err)
		select {
		case <-patience.C:
			return fmt.Errorf("%w: snapshot: %w", raftlog.ErrUnreachable, err)
		default:
		}
		if !wait.next(t.accepting, s.lifetime, s.renewed) {
			return fmt.Errorf("%w: %w", raftlog.ErrUnreachable, context.Cause(s.lifetime))
		}
	}
}

// try makes one connection and sends what the receiver does not have. progress says whether the receiver was found to
// have more of it than ever before.
func (s *sending) try() (answered, progress bool, err error) {
	t := s.p.t
	ctx, cancel := context.WithCancelCause(s.lifetime)
	defer cancel(nil)
	s.begin(cancel)
	defer s.begin(nil)
	way, _, err := t.open(ctx, peerpb.Opening_SNAPSHOT, s.p.id, s.p.addresses(), int(s.first.Load()))
	if err != nil {
		return false, false, firstOf(context.Cause(ctx), err)
	}
	defer way.Close()
	defer way.closeWith(ctx)()
	states := make(chan *peerpb.SnapshotState)
	var receiver sync.WaitGroup // it ends with ctx, which closes the connection
	defer receiver.Wait()
	defer cancel(nil)
	receiver.Go(func() { cancel(receiveStates(ctx, way, states)) })

	answered, progress, err = s.exchange(ctx, way, states)
	if err == nil || errors.Is(err, errGivenUp) {
		return answered, progress, err
	}
	var said *failure
	if err = firstOf(context.Cause(ctx), err); errors.As(err, &said) {
		err = fmt.Errorf("%w: the receiver: %s", errGivenUp, said.words)
	}
	return answered, progress, err
}

// receiveStates hands out what the receiver of a snapshot says until the connection ends. The error is why.
func receiveStates(ctx context.Context, way *wire, states chan<- *peerpb.SnapshotState) error {
	for {
		state := &peerpb.SnapshotState{}
		if err := way.expect(peerpb.Kind_STATE, state); err != nil {
			return err
		}
		select {
		case states <- state:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *sending) exchange(ctx context.Context, way *wire, states <-chan *peerpb.SnapshotState) (answered, progress bool, err error) {
	offer := &peerpb.SnapshotOffer{Message: s.message}
	for _, f := range s.files {
		offer.Files = append(offer.Files, &peerpb.SnapshotFile{Name: f.Name, Bytes: f.Bytes, Checksum: f.Checksum})
	}
	if err := send(ctx, way, &peerpb.SnapshotPart{Part: &peerpb.SnapshotPart_Offer{Offer: offer}}); err != nil {
		return false, false, err
	}
	for finishes := 0; ; finishes++ {
		var state *peerpb.SnapshotState
		select {
		case state = <-states:
		case <-ctx.Done():
			return answered, progress, context.Cause(ctx)
		}
		answered = true
		if state.Done {
			return answered, progress, nil
		}
		if finishes >= finishesMax {
			return answered, progress, fmt.Errorf("%w: %d times the receiver found something wrong with it: %s", errGivenUp, finishes, state.Problem)
		}
		if state.Problem != "" {
			s.p.log.Warn("the receiver of a snapshot asks for a part of it again", "problem", state.Problem)
		}
		have, err := s.had(state)
		if err != nil {
			return answered, progress, err
		}
		if have > s.most {
			s.most, progress = have, true
		}
		if err := s.sendMissing(ctx, way, state.Have); err != nil {
			return answered, progress, err
		}
		if err := send(ctx, way, &peerpb.SnapshotPart{Part: &peerpb.SnapshotPart_Finish{Finish: &peerpb.SnapshotFinish{}}}); err != nil {
			return answered, progress, err
		}
	}
}

// had checks what the receiver says that it has, and adds it up.
func (s *sending) had(state *peerpb.SnapshotState) (total int64, err error) {
	if len(state.Have) != len(s.files) {
		return 0, fmt.Errorf("%w: the receiver speaks of %d files instead of %d", errGivenUp, len(state.Have), len(s.files))
	}
	for i, have := range state.Have {
		if have < 0 || have > s.files[i].Bytes {
			return 0, fmt.Errorf("%w: the receiver has %d bytes of %d of file %s", errGivenUp, have, s.files[i].Bytes, s.files[i].Name)
		}
		total += have
	}
	return total, nil
}

func (s *sending) sendMissing(ctx context.Context, way *wire, have []int64) error {
	buffer := make([]byte, chunkBytes(s.p.t.opts.SnapshotBytesPerSecond))
	for i, f := range s.files {
		if have[i] == f.Bytes {
			continue
		}
		if err := s.sendFile(ctx, way, uint32(i), have[i], buffer); err != nil {
			return err
		}
	}
	return nil
}

func (s *sending) sendFile(ctx context.Context, way *wire, file uint32, offset int64, buffer []byte) error {
	f := s.files[file]
	reader, err := s.from.Open(f.Name)
	if err != nil {
		return fmt.Errorf("%w: %w", errGivenUp, err)
	}
	defer reader.Close()
	chunk := &peerpb.SnapshotChunk{File: file}
	part := &peerpb.SnapshotPart{Part: &peerpb.SnapshotPart_Chunk{Chunk: chunk}}
	for offset < f.Bytes {
		data := buffer[:min(int64(len(buffer)), f.Bytes-offset)]
		if l := s.p.t.limiter; l != nil {
			if err := l.WaitN(ctx, len(data)); err != nil {
				return err
			}
		}
		if n, err := reader.ReadAt(data, offset); n < len(data) {
			return fmt.Errorf("%w: %s at %d: %w", errGivenUp, f.Name, offset, err)
		}
		chunk.Offset, chunk.Data = offset, data
		if err := send(ctx, way, part); err != nil {
			return err
		}
		offset += int64(len(data))
		s.p.counts.snapshotSentBytes.Add(uint64(len(data)))
	}
	return nil
}

func send(ctx context.Context, way *wire, part *peerpb.SnapshotPart) error {
	if _, err := way.send(peerpb.Kind_PART, part); err != nil {
		return lastWord(ctx, err)
	}
	return nil
}
