package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	redisRoot    = "bench:"
	redisChannel = "bench-channel"
	lockTTL      = "10000" // ms
)

// redisDriver gives every client a connection of its own, as client pools do
// and MULTI needs. It writes RESP itself, which leaves the server more of the
// machine than a full client library would.
type redisDriver struct {
	hosts []string
	mu    sync.Mutex
	conns []net.Conn
}

func newRedis(_ Config, hosts []string) (driver, error) { return &redisDriver{hosts: hosts}, nil }

func (d *redisDriver) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.conns {
		conn.Close()
	}
}

func (d *redisDriver) dial(ctx context.Context, id int) (*respConn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", d.hosts[id%len(d.hosts)])
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns = append(d.conns, conn)
	return newRespConn(conn), nil
}

func (d *redisDriver) ping(ctx context.Context) error {
	conn, err := d.dial(ctx, 0)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.do("PING")
	return err
}

func (d *redisDriver) loadGroup(ctx context.Context, group int, c *client) error {
	conn, err := d.dial(ctx, c.id)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, name := range groupKeys(group) {
		conn.send("SET", redisRoot+name, c.value())
	}
	return conn.flush(groupSize)
}

func (d *redisDriver) workloads() map[string]workload {
	return map[string]workload{
		"put":        {load: true, start: d.pipelined(put)},
		"get":        {load: true, start: d.pipelined(get)},
		"mixed":      {load: true, start: d.pipelined(mixedCommand)},
		"range100":   {load: true, start: d.pipelined(mget)},
		"incr":       {start: d.pipelined(incr)},
		"hset":       {start: d.pipelined(hset)},
		"zadd":       {start: d.pipelined(zadd)},
		"xadd":       {start: d.pipelined(xadd)},
		"lpush":      {start: d.pipelined(lpush)},
		"lpush-rpop": {start: d.pipelined(lpushRpop)},
		"lease":      {start: d.pipelined(setExpiring)},

		"txn":           {load: true, start: d.connected(swap)},
		"create-delete": {start: d.startCreateDelete},
		"lock":          {start: d.connected(lockUnlock)},
		"pubsub":        {start: d.connected(publish), watch: d.subscribe},
	}
}

// connected readies a client that makes its call on its own connection.
func (d *redisDriver) connected(call func(ctx context.Context, c *client, conn *respConn) error) starter {
	return func(ctx context.Context, c *client) (op, error) {
		conn, err := d.dial(ctx, c.id)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return call(ctx, c, conn) }, nil
	}
}

// pipelined sends Config.Pipeline commands at a time.
func (d *redisDriver) pipelined(send func(c *client, conn *respConn)) starter {
	start := d.connected(func(_ context.Context, c *client, conn *respConn) error {
		for range c.batch {
			send(c, conn)
		}
		return conn.flush(c.batch)
	})
	return func(ctx context.Context, c *client) (op, error) {
		c.batch = c.cfg.Pipeline
		return start(ctx, c)
	}
}

func put(c *client, conn *respConn) { conn.send("SET", redisRoot+c.key(), c.value()) }
func get(c *client, conn *respConn) { conn.send("GET", redisRoot+c.key()) }

func mixedCommand(c *client, conn *respConn) {
	if c.rng.IntN(100) < 80 {
		get(c, conn)
	} else {
		put(c, conn)
	}
}

func mget(c *client, conn *respConn) {
	args := make([]string, 1, 1+groupSize)
	args[0] = "MGET"
	for _, name := range groupKeys(c.group()) {
		args = append(args, redisRoot+name)
	}
	conn.send(args...)
}

func incr(c *client, conn *respConn) { conn.send("INCR", "bench-counter:"+c.key()) }

// Collections are as many as there are groups, with a group's size of members.

func (c *client) member() string { return strconv.Itoa(c.rng.IntN(groupSize)) }

func hset(c *client, conn *respConn) {
	conn.send("HSET", "bench-hash:"+groupName(c.group()), c.member(), c.value())
}

func zadd(c *client, conn *respConn) {
	conn.send("ZADD", "bench-zset:"+groupName(c.group()), strconv.Itoa(c.rng.IntN(1e6)), c.member())
}

func xadd(c *client, conn *respConn) {
	conn.send("XADD", "bench-stream:"+groupName(c.group()), "*", "value", c.value())
}

func lpush(c *client, conn *respConn) {
	conn.send("LPUSH", "bench-list:"+groupName(c.group()), c.value())
}

// lpushRpop alternates on a list of the client's own, so that it is never empty.
func lpushRpop(c *client, conn *respConn) {
	list := "bench-list:" + strconv.Itoa(c.id)
	if c.turn++; c.turn%2 == 1 {
		conn.send("LPUSH", list, c.value())
	} else {
		conn.send("RPOP", list)
	}
}

func setExpiring(c *client, conn *respConn) {
	conn.send("SET", "bench-lease:"+c.key(), c.value(), "PX", "60000")
}

// swap reads a key and replaces it unless another client did: two round trips.
func swap(_ context.Context, c *client, conn *respConn) error {
	names := c.ownKeys()
	key := redisRoot + names[c.rng.IntN(len(names))]
	return conn.compareAnd(key, nil, "SET", key, c.value())
}

func (d *redisDriver) startCreateDelete(ctx context.Context, c *client) (op, error) {
	conn, err := d.dial(ctx, c.id)
	if err != nil {
		return nil, err
	}
	return alternate(
		func(_ context.Context, c *client, name string) error {
			_, err := conn.do("SET", redisRoot+name, c.value(), "NX")
			return err
		},
		func(_ context.Context, c *client, name string) error {
			n, err := conn.do("DEL", redisRoot+name)
			if err == nil && string(n) != "1" {
				err = errMissing
			}
			return err
		})(ctx, c)
}

// lockUnlock takes a lock by polling and releases it if it is still its own.
func lockUnlock(ctx context.Context, c *client, conn *respConn) error {
	key, token := fmt.Sprintf("bench-lock:%d", c.rng.IntN(c.cfg.Locks)), strconv.Itoa(c.id)
	for {
		_, err := conn.do("SET", key, token, "NX", "PX", lockTTL)
		if err == nil {
			return conn.compareAnd(key, &token, "DEL", key)
		}
		if err != errNil || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func publish(_ context.Context, c *client, conn *respConn) error {
	_, err := conn.do("PUBLISH", redisChannel, string(c.stamped()))
	return err
}

func (d *redisDriver) subscribe(ctx context.Context, id int, deliver func(value []byte)) error {
	conn, err := d.dial(ctx, id)
	if err != nil {
		return err
	}
	if _, err := conn.do("SUBSCRIBE", redisChannel); err != nil {
		return err
	}
	go func() {
		for {
			message, err := conn.receive()
			if err != nil {
				return
			}
			deliver(message)
		}
	}()
	return nil
}

// errNil is a null reply: no such key, condition not met, transaction aborted.
var errNil = errors.New("null reply")

// respConn writes RESP2 commands and reads their replies.
type respConn struct {
	net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	reply []byte
}

func newRespConn(conn net.Conn) *respConn {
	return &respConn{Conn: conn, r: bufio.NewReaderSize(conn, 32<<10), w: bufio.NewWriterSize(conn, 32<<10)}
}

// send queues a command. Write errors surface when it is flushed.
func (c *respConn) send(args ...string) {
	c.header('*', len(args))
	for _, arg := range args {
		c.header('$', len(arg))
		c.w.WriteString(arg)
		c.w.WriteString("\r\n")
	}
}

func (c *respConn) header(kind byte, n int) {
	line := append(c.w.AvailableBuffer(), kind)
	c.w.Write(append(strconv.AppendInt(line, int64(n), 10), "\r\n"...))
}

// do sends one command and returns its reply.
func (c *respConn) do(args ...string) ([]byte, error) {
	c.send(args...)
	if err := c.w.Flush(); err != nil {
		return nil, err
	}
	return c.receive()
}

// flush sends the queued commands and reads their replies.
func (c *respConn) flush(replies int) error {
	if err := c.w.Flush(); err != nil {
		return err
	}
	_, err := c.receiveAll(replies)
	return err
}

// compareAnd runs command unless key changes meanwhile or, if want is given,
// holds something else.
func (c *respConn) compareAnd(key string, want *string, command ...string) error {
	c.send("WATCH", key)
	c.send("GET", key)
	if err := c.w.Flush(); err != nil {
		return err
	}
	value, err := c.receiveAll(2)
	if err != nil {
		return err
	}
	if want != nil && string(value) != *want {
		return errConflict
	}
	c.send("MULTI")
	c.send(command...)
	c.send("EXEC")
	if err := c.flush(3); err != errNil {
		return err
	}
	return errConflict
}

// receive reads a reply and returns its text, of an array that of the last
// element, which stays valid until the next call. Null and error replies, also
// inside an array, are errors.
func (c *respConn) receive() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 {
		return nil, fmt.Errorf("malformed reply %q", line)
	}
	kind, text := line[0], line[1:len(line)-2]
	switch kind {
	case '+', ':':
		return text, nil
	case '-':
		return nil, errors.New(string(text))
	case '$', '*':
	default:
		return nil, fmt.Errorf("unknown reply %q", line)
	}
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, errNil
	}
	if kind == '*' {
		return c.receiveAll(n)
	}
	c.reply = slices.Grow(c.reply[:0], n+2)[:n+2]
	_, err = io.ReadFull(c.r, c.reply)
	return c.reply[:n], err
}

// receiveAll reads n replies. Unless the connection breaks it reads on after an
// error, to stay in step with the server.
func (c *respConn) receiveAll(n int) (last []byte, failed error) {
	for range n {
		reply, err := c.receive()
		if err != nil {
			failed = err
		}
		last = reply
	}
	return last, failed
}
