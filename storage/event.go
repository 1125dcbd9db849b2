package storage

// EventType says what happened to a key.
type EventType uint8

// The event types. Put and Delete are stored in the log table; the others live in the event ring only.
const (
	EventPut EventType = iota + 1
	EventDelete
	EventTouch   // lease, deadline or elements changed in a way that etcd and ZooKeeper do not see
	EventPublish // a message on a channel: no key, no state
)

// NodeChange says what an event is to ZooKeeper's eyes. Only keys of the shared space that are valid paths and of kind
// bytes are nodes.
type NodeChange uint8

// The node changes.
const (
	NodeNone NodeChange = iota
	NodeCreated
	NodeDeleted
	NodeDataChanged
)

// Event is one change of one key. Events are shared by everything that watches and therefore never modified.
type Event struct {
	Type      EventType
	Space     byte
	Key       []byte  // EventPublish: the channel
	Revision  int64   // of the change; EventPublish: of the store when the message passed
	Sub       int32   // order among the events of one revision
	Record    Record  // after the change. EventDelete: only ModRevision. EventPublish: Value is the message
	Prev      *Record // before the change, nil if there was no key; not stored, looked up again on replay
	Node      NodeChange
	Ancestors int32  // how many nodes above, nearest first, appeared (NodeCreated) or vanished (NodeDeleted) with it
	Verb      string // Redis' word for the change ("set", "lpush", "expired" …); not stored
}
