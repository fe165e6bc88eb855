package usage

import "time"

// timeLayout is RFC 3339 in UTC with a fraction of fixed width: six digits are
// what the usual parsers keep.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// Time is a moment in UTC to the microsecond. It reads any RFC 3339 time and
// writes microseconds always, trailing zeros included.
type Time struct{ time.Time }

// At makes a Time of any clock reading.
func At(t time.Time) Time { return Time{t.Round(0).UTC().Truncate(time.Microsecond)} }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(t.UTC().Format(`"` + timeLayout + `"`)), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Time) UnmarshalJSON(text []byte) error {
	var read time.Time
	if err := read.UnmarshalJSON(text); err != nil {
		return err
	}
	*t = At(read)
	return nil
}
