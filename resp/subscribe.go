package resp

// names gives the set of a connection's subscriptions of a kind, for changing it.
func (s *subscriptions) names(pattern bool) *map[string]struct{} {
	if pattern {
		return &s.patterns
	}
	return &s.channels
}

// subscribe answers SUBSCRIBE and PSUBSCRIBE: one message for each name.
func (c *conn) subscribe(word string, names [][]byte, pattern bool) {
	if c.subs.total()+len(names) > c.srv.opts.MaxNames {
		c.out.err("ERR too many subscriptions")
		return
	}
	c.hold()
	own := c.subs.names(pattern)
	if *own == nil {
		*own = map[string]struct{}{}
	}
	for _, b := range names {
		name := string(b)
		if _, ok := (*own)[name]; !ok {
			(*own)[name] = struct{}{}
			c.srv.pubsub.subscribe(c, name, pattern)
		}
		c.confirm(word, b)
	}
}

// unsubscribe answers UNSUBSCRIBE and PUNSUBSCRIBE. Without names it is about all of them.
func (c *conn) unsubscribe(word string, names [][]byte, pattern bool) {
	own := *c.subs.names(pattern)
	if len(names) == 0 {
		for name := range own {
			names = append(names, []byte(name))
		}
		if len(names) == 0 {
			c.confirm(word, nil)
			return
		}
	}
	for _, b := range names {
		name := string(b)
		if _, ok := own[name]; ok {
			delete(own, name)
			c.srv.pubsub.unsubscribe(c, name, pattern)
		}
		c.confirm(word, b)
	}
}

func (c *conn) confirm(word string, name []byte) {
	c.silent = false // messages are sent even after CLIENT REPLY OFF
	c.public.subscribed(&c.subs)
	c.out.pushHead(3)
	c.out.bulkString(word)
	c.out.bulkOrNull(name)
	c.out.int(int64(c.subs.total()))
}

func runPubsubChannels(c *conn, q *request) {
	if len(q.args) > 3 {
		c.out.err("ERR unknown subcommand or wrong number of arguments for '" + string(q.args[1]) + "'. Try PUBSUB HELP.")
		return
	}
	p := c.srv.pubsub
	p.mu.Lock()
	var names []string
	for name := range p.channels {
		if len(q.args) == 2 || globMatch(q.args[2], []byte(name)) {
			names = append(names, name)
		}
	}
	p.mu.Unlock()
	c.out.strings(names...)
}

func runPubsubNumSub(c *conn, q *request) {
	p := c.srv.pubsub
	p.mu.Lock()
	defer p.mu.Unlock()
	c.out.array(2 * (len(q.args) - 2))
	for _, name := range q.args[2:] {
		c.out.bulk(name)
		c.out.int(int64(len(p.channels[string(name)])))
	}
}
