package platform

import (
	"slices"
	"sync"
)

// broker holds the history and hands each event to the streams that may have
// it. Subscribing takes the replay and the place in line under one lock, so
// a follower sees every event once, without a gap.
type broker struct {
	mu      sync.Mutex
	seq     uint64
	history map[string][]*event // by name, all of them
	streams map[string][]*stream
	groups  map[groupKey]*group
}

type groupKey struct{ account, name, group string }

// group is the set of listeners that share unicast delivery.
type group struct {
	members []*stream
	next    int    // round robin
	cursor  uint64 // the last event handed to a member
}

func newBroker() *broker {
	b := &broker{}
	b.forget()
	return b
}

// forget drops history and group positions, as a restart without storage does.
// No stream may be subscribed.
func (b *broker) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.history = map[string][]*event{}
	b.streams = map[string][]*stream{}
	b.groups = map[groupKey]*group{}
}

// publish numbers ev, keeps it and hands it out; it returns to how many.
func (b *broker) publish(ev *event) (listeners int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seq++
	ev.seq = b.seq
	name := ev.wire.Name
	b.history[name] = append(b.history[name], ev)
	var handed []*group
	for _, s := range b.streams[name] {
		if s.key.account != ev.wire.Account {
			continue
		}
		if s.group == nil {
			s.push(ev)
			listeners++
		} else if g := s.group; !slices.Contains(handed, g) {
			handed = append(handed, g)
			g.members[g.next%len(g.members)].push(ev)
			g.next++
			g.cursor = ev.seq
			listeners++
		}
	}
	return listeners
}

// subscribe fills s with the history it asked for, and with what follows when
// it asked for that.
func (b *broker) subscribe(s *stream, replay, follow bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var g *group
	if s.key.group != "" {
		g = b.groups[s.key]
		if g == nil {
			g = &group{}
			b.groups[s.key] = g
		}
	}
	for _, ev := range b.history[s.key.name] {
		if replay && ev.wire.Account == s.key.account && (g == nil || ev.seq > g.cursor) {
			s.push(ev)
		}
	}
	if g != nil && (replay || len(g.members) == 0) {
		g.cursor = b.seq
	}
	if !follow {
		return
	}
	if g != nil {
		g.members = append(g.members, s)
		s.group = g
	}
	b.streams[s.key.name] = append(b.streams[s.key.name], s)
}

// unsubscribe takes s out; twice is once.
func (b *broker) unsubscribe(s *stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	isIt := func(other *stream) bool { return other == s }
	b.streams[s.key.name] = slices.DeleteFunc(b.streams[s.key.name], isIt)
	if s.group != nil {
		s.group.members = slices.DeleteFunc(s.group.members, isIt)
	}
}

// open returns the streams that follow any of names, or all without names.
func (b *broker) open(names ...string) []*stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []*stream
	for name, list := range b.streams {
		if len(names) == 0 || slices.Contains(names, name) {
			found = append(found, list...)
		}
	}
	return found
}
