package events

import (
	"testing"
	"time"
)

func TestSkew(t *testing.T) {
	at := func(seconds float64) time.Time {
		return time.Unix(1_800_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
	}
	for _, c := range []struct {
		asked, answered, date float64
		want                  time.Duration
	}{
		{0.5, 0.6, 0, 0}, // a date is cut to its second
		{0.5, 3, 2, 0},
		{0, 0, 5, 5 * time.Second},
		{0.5, 1.5, 10, 8500 * time.Millisecond},
		{10, 11, 3, -6 * time.Second},
		{1.5, 2, 0, -500 * time.Millisecond},
	} {
		if got := (Attempt{Asked: at(c.asked), Answered: at(c.answered), Date: at(c.date)}).Skew(); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
	if (Attempt{Asked: at(0), Answered: at(1)}).Skew() != 0 {
		t.Error("no date is no skew")
	}
}
