package platform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// mangler turns the events of one stream into the bytes that go out.
type mangler struct {
	dice dice
	held []*event // events that Reorder keeps back
}

// unknownMembers is what a newer platform might add. The nested id is a trap
// for readers that search the text instead of reading the document.
var unknownMembers = json.RawMessage(`{"correlationId":"not-this-one","list":[1,null,{"name":"x"}],"flag":true,"text":"\u2028}{"}`)

// order returns what to send now that ev came in, under f's Reorder.
func (m *mangler) order(ev *event, f *Faults) []*event {
	if f.Reorder == 0 && len(m.held) == 0 {
		return []*event{ev}
	}
	m.held = append(m.held, ev)
	if f.Reorder == 0 {
		return m.release()
	}
	if len(m.held) < f.Reorder {
		return nil
	}
	i, last := m.dice.IntN(len(m.held)), len(m.held)-1
	out := m.held[i]
	m.held[i] = m.held[last]
	m.held = m.held[:last]
	return []*event{out}
}

// release returns all held events in a random order.
func (m *mangler) release() []*event {
	out := m.held
	m.held = nil
	m.dice.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// lines appends ev to out the way f wants it, with what f adds around it. cut
// says that the connection ends there.
func (m *mangler) lines(out []byte, ev *event, f *Faults) (_ []byte, cut bool) {
	hit := func(on bool) bool { return m.dice.strikes(on, f.Rate) }
	if hit(f.GarbageLines) {
		out = append(append(out, m.dice.noise()...), '\n')
	}
	if hit(f.Blank) {
		out = append(out, "\n \t\n\r\n"...)
	}
	if hit(f.Foreign > 0) && strings.HasSuffix(ev.wire.Name, responseSuffix) {
		for range f.Foreign {
			foreign := ev.wire
			foreign.ID = uuid.NewString()
			foreign.CorrelationID = uuid.NewString()
			out = append(out, foreign.encode()...)
		}
	}
	line := m.rewrite(ev, f, hit)
	if hit(f.CutLine) {
		return append(out, line[:len(line)/2]...), true
	}
	if hit(f.Truncate) {
		return append(append(out, line[:len(line)/2]...), '\n'), false
	}
	out = append(out, line...)
	if hit(f.Duplicate) {
		out = append(out, line...)
	}
	return out, false
}

// rewrite returns the line of ev, in another form where f asks for one.
func (m *mangler) rewrite(ev *event, f *Faults, hit func(bool) bool) []byte {
	w, changed := ev.wire, false
	if hit(f.Unknown) {
		w.Unknown, changed = unknownMembers, true
	}
	if hit(f.SnakeID) {
		w.Snake, changed = w.CorrelationID, true
		if !f.BothIDs {
			w.CorrelationID = ""
		}
	}
	if hit(f.LongLine > 0) {
		w.Padding, changed = strings.Repeat("x", f.LongLine), true
	}
	line := ev.line
	if changed {
		line = w.encode()
	}
	if hit(f.RepeatID) {
		line = fmt.Appendf(nil, `{"correlationId":%q,%s`, uuid.NewString(), line[1:])
	}
	if hit(f.CRLF) {
		line = append(bytes.TrimSuffix(bytes.Clone(line), []byte("\n")), "\r\n"...)
	}
	return line
}
