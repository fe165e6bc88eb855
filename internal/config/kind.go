package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is how the text of a setting becomes a field of Config. Texts are parsed
// here and nowhere else: decoders that convert by themselves turn the duration
// 30 into 30 ns and the mode 0123 into 83.
type kind struct {
	name    string   // stands for the value in help
	allowed string   // what is accepted, for errors and documents
	choices []string // the accepted texts when there are only so many
	plain   bool     // needs no quotes in YAML
	mapping bool     // may be a mapping in the file
	set     func(c *Config, text string) bool
}

// text is any text, empty included.
func text(name, allowed string, field func(*Config) *string) kind {
	return kind{name: name, allowed: allowed, set: func(c *Config, text string) bool {
		*field(c) = text
		return true
	}}
}

// filled refuses the empty text.
func filled(k kind) kind {
	set := k.set
	k.set = func(c *Config, text string) bool { return text != "" && set(c, text) }
	return k
}

// choice is one of a few words.
func choice(use func(c *Config, word string), words ...string) kind {
	return kind{
		name: strings.Join(words, "|"), allowed: strings.Join(words, ", "), choices: words, plain: true,
		set: func(c *Config, text string) bool {
			if !slices.Contains(words, text) {
				return false
			}
			use(c, text)
			return true
		},
	}
}

// boolean is `1 true yes on` or `0 false no off`, in any case.
func boolean(field func(*Config) *bool) kind {
	return kind{
		name: "bool", allowed: "1, true, yes, on, or 0, false, no, off", plain: true,
		set: func(c *Config, text string) bool {
			v, ok := parseBool(text)
			*field(c) = v
			return ok
		},
	}
}

func parseBool(text string) (v, ok bool) {
	switch strings.ToLower(text) {
	case "1", "true", "yes", "on":
		return true, true
	case "0", "false", "no", "off":
		return false, true
	}
	return false, false
}

// duration accepts low to high, both included.
func duration(low, high time.Duration, field func(*Config) *time.Duration) kind {
	return kind{
		name: "duration", plain: true,
		allowed: fmt.Sprintf("a duration from %s to %s, such as 1m30s; a bare integer is seconds", brief(low), brief(high)),
		set: func(c *Config, text string) bool {
			d, ok := ParseDuration(text)
			if !ok || d < low || d > high {
				return false
			}
			*field(c) = d
			return true
		},
	}
}

const (
	// shortest is the least of a duration that must not be zero.
	shortest = time.Millisecond
	// longest keeps sums and doublings of durations far from overflow.
	longest = 24 * time.Hour
)

// brief is 24h where Duration.String says 24h0m0s.
func brief(d time.Duration) string {
	text := d.String()
	if d >= time.Minute {
		text = strings.TrimSuffix(text, "0s")
	}
	if d >= time.Hour {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// ParseDuration reads Go's syntax or a bare integer of seconds, not negative.
func ParseDuration(text string) (d time.Duration, ok bool) {
	if n, err := strconv.ParseUint(text, 10, 63); err == nil {
		if n > math.MaxInt64/uint64(time.Second) {
			return 0, false
		}
		return time.Duration(n) * time.Second, true
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}

// count is a decimal integer from low to high, both included.
func count(low, high int, field func(*Config) *int) kind {
	return kind{
		name: "count", allowed: fmt.Sprintf("an integer from %d to %d", low, high), plain: true,
		set: func(c *Config, text string) bool {
			n, err := strconv.ParseUint(text, 10, 63)
			if err != nil || n < uint64(low) || n > uint64(high) {
				return false
			}
			*field(c) = int(n)
			return true
		},
	}
}
