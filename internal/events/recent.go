package events

// recent remembers the last few values put into it, by correlation id: when
// it is full, the oldest makes room. The limit is at least 1.
type recent[V any] struct {
	limit int
	items map[string]remembered[V]
	order []slot // a ring once it has limit slots
	puts  uint64
}

type remembered[V any] struct {
	value V
	put   uint64
}

// slot may be stale: its id was taken, or put again since.
type slot struct {
	id  string
	put uint64
}

func newRecent[V any](limit int) *recent[V] {
	return &recent[V]{limit: limit, items: make(map[string]remembered[V])}
}

func (r *recent[V]) put(id string, value V) {
	next := slot{id, r.puts}
	if len(r.order) < r.limit {
		r.order = append(r.order, next)
	} else {
		oldest := &r.order[r.puts%uint64(r.limit)]
		if r.items[oldest.id].put == oldest.put {
			delete(r.items, oldest.id)
		}
		*oldest = next
	}
	r.items[id] = remembered[V]{value, r.puts}
	r.puts++
}

func (r *recent[V]) get(id string) (V, bool) {
	item, ok := r.items[id]
	return item.value, ok
}

func (r *recent[V]) remove(id string) { delete(r.items, id) }
