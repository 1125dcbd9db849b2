package grpcsvc

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// fillHeader fills the header of an answer that reflects the store at a revision.
func (s *Server) fillHeader(h *pb.ResponseHeader, revision int64) {
	h.ClusterId = s.clusterID
	h.MemberId = s.memberID
	h.Revision = revision
	h.RaftTerm = s.store.Term()
}

func (s *Server) header(revision int64) *pb.ResponseHeader {
	h := &pb.ResponseHeader{}
	s.fillHeader(h, revision)
	return h
}
