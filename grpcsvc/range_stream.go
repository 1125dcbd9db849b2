package grpcsvc

import (
	"bytes"
	"context"
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// chunkKeysFirst is how many keys the first message of a RangeStream holds; the following ones grow or shrink towards
// the size of the largest request.
const chunkKeysFirst = 10

// RangeStream reads a range in messages that, merged, are the answer of Range. All of them show one revision. Each is
// read from a view of its own, so that a slow client keeps nothing on disk from being freed.
func (s *kvService) RangeStream(r *pb.RangeRequest, stream pb.KV_RangeStreamServer) (err error) {
	if err := checkRangeStream(r); err != nil {
		return err
	}
	defer s.opts.Meters.ranging(time.Now(), &err)
	view, err := s.view(stream.Context(), r.Serializable)
	if err != nil {
		return err
	}
	if r.CountOnly {
		return s.countStream(view, r, stream)
	}
	chunks := &chunks{kvService: s, request: r, revision: view.Revision(), limit: r.Limit}
	if r.Limit <= 0 {
		chunks.limit = math.MaxInt64
	}
	chunk := &corepb.Range{
		Key: r.Key, End: r.RangeEnd, Limit: min(chunkKeysFirst, chunks.limit), Revision: r.Revision,
		KeysOnly: r.KeysOnly && r.SortTarget != pb.RangeRequest_VALUE, SkipCount: true,
	}
	if r.Revision <= 0 {
		chunk.Revision = chunks.revision
	}
	for {
		answer, after, err := chunks.next(view, chunk)
		if err != nil {
			return err
		}
		if err := stream.Send(&pb.RangeStreamResponse{RangeResponse: answer}); err != nil {
			return err
		}
		if answer.Header != nil {
			return nil
		}
		chunk.Key = after
		chunk.Limit = min(chunkKeysNext(chunk.Limit, proto.Size(answer), s.opts.MaxRequestBytes), chunks.limit-chunks.sent)
		if view, err = s.latest(stream.Context()); err != nil {
			return err
		}
	}
}

// countStream answers a RangeStream that asks for nothing but the count.
func (s *kvService) countStream(view *core.View, r *pb.RangeRequest, stream pb.KV_RangeStreamServer) error {
	revision := view.Revision()
	counted, err := rangeOn(view, &corepb.Range{Key: r.Key, End: r.RangeEnd, Revision: max(r.Revision, 0), CountOnly: true})
	view.Close()
	if err != nil {
		return err
	}
	answer := &pb.RangeResponse{Header: s.header(revision), Count: counted.Count}
	return stream.Send(&pb.RangeStreamResponse{RangeResponse: answer})
}

func checkRangeStream(r *pb.RangeRequest) error {
	if err := checkRange(r); err != nil {
		return err
	}
	inKeyOrder := r.SortOrder == pb.RangeRequest_NONE ||
		r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND
	switch {
	case !inKeyOrder:
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	case r.MinModRevision|r.MaxModRevision|r.MinCreateRevision|r.MaxCreateRevision != 0:
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	return nil
}

// latest gives the view of what this node has, which after a first view is never older than that.
func (s *kvService) latest(ctx context.Context) (*core.View, error) {
	return s.viewAt(ctx, core.Local)
}

// chunks is a RangeStream under way.
type chunks struct {
	*kvService
	request  *pb.RangeRequest
	revision int64 // of the store when it began
	limit    int64
	sent     int64
}

// next reads a chunk, tells the least key behind it, and lets the view go. The last chunk alone has a header, More and
// Count. What earlier chunks left is counted only once, then.
func (c *chunks) next(view *core.View, r *corepb.Range) (answer *pb.RangeResponse, after []byte, err error) {
	defer view.Close()
	found, err := rangeOn(view, r)
	if err != nil {
		return nil, nil, err
	}
	c.sent += int64(len(found.Records))
	if found.More {
		after = append(bytes.Clone(found.Records[len(found.Records)-1].Key), 0)
	}
	c.sort(found.Records)
	answer = &pb.RangeResponse{}
	fillRange(answer, c.request, found)
	answer.Count, answer.More = 0, false
	if found.More && c.sent < c.limit {
		return answer, after, nil
	}
	answer.Header = c.header(c.revision)
	answer.More = found.More
	answer.Count = c.sent
	if found.More {
		rest, err := rangeOn(view, &corepb.Range{Key: after, End: r.End, Revision: r.Revision, CountOnly: true})
		if err != nil {
			return nil, nil, err
		}
		answer.Count += rest.Count
	}
	return answer, after, nil
}

// sort orders the keys of one message where a target is given without an order, which RangeStream takes: ascending by the
// target, as in etcd. The messages among themselves are in the order of keys all the same.
func (c *chunks) sort(records []core.KeyRecord) {
	target := corepb.Range_SortTarget(c.request.SortTarget)
	if target == corepb.Range_KEY {
		return
	}
	core.SortRecords(records, target, corepb.Range_ASCEND)
	if c.request.KeysOnly { // values were read if they are what is sorted by
		for i := range records {
			records[i].Value = nil
		}
	}
}

func rangeOn(view *core.View, r *corepb.Range) (*core.Result, error) {
	txn, op := command()
	op.Op = &corepb.Op_Range{Range: r}
	result, err := read(view, txn)
	if err != nil {
		return nil, err
	}
	return &result.Results[0], nil
}

// chunkKeysNext steers towards messages of a size by doubling and halving, and leaves those within a factor of two.
func chunkKeysNext(keys int64, size, sizeWanted int) int64 {
	switch {
	case size < sizeWanted/2:
		return keys * 2
	case size > sizeWanted*2:
		return max(keys/2, 1)
	}
	return keys
}
