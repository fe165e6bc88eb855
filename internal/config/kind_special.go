package config

import (
	"bytes"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// maxSocketPath is what fits into sockaddr_un beside its final NUL (unix(7)).
const maxSocketPath = 107

// listenAddress is host:port with a numeric port, or a unix socket.
func listenAddress(optional bool, field func(*Config) *string) kind {
	allowed := "host:port, or unix: and an absolute path of at most 107 bytes"
	if optional {
		allowed += "; empty for none"
	}
	return kind{
		name: "address", allowed: allowed,
		set: func(c *Config, text string) bool {
			if !isAddress(text) && (text != "" || !optional) {
				return false
			}
			*field(c) = text
			return true
		},
	}
}

func isAddress(text string) bool {
	if path, ok := address.Socket(text); ok {
		return filepath.IsAbs(path) && len(path) <= maxSocketPath && !strings.Contains(path, "\x00")
	}
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// plainURL is what isPlainURL accepts.
const plainURL = "an absolute http or https URL without user, query or fragment"

func isPlainURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		u.User == nil && u.RawQuery == "" && !u.ForceQuery && !strings.Contains(text, "#")
}

// fileMode is octal, with or without a leading 0 or 0o.
func fileMode(field func(*Config) *os.FileMode) kind {
	return kind{
		name: "mode", allowed: "an octal file mode from 0000 to 0777", plain: true,
		set: func(c *Config, text string) bool {
			mode, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
			if err != nil || mode > 0o777 {
				return false
			}
			*field(c) = os.FileMode(mode)
			return true
		},
	}
}

// credential is a text that must not be printed. The placeholder of printed
// settings is refused, so that they never become the settings of a service.
func credential(allowed string, field func(*Config) *secret.String) kind {
	return kind{name: "secret", allowed: allowed, set: func(c *Config, text string) bool {
		*field(c) = secret.New(text)
		return text != redacted
	}}
}

// object is a JSON object; in the file it may be a YAML mapping as well.
func object(field func(*Config) *json.RawMessage) kind {
	return kind{
		name: "json", allowed: "a JSON object", mapping: true,
		set: func(c *Config, text string) bool {
			var compact bytes.Buffer
			if json.Compact(&compact, []byte(text)) != nil || !bytes.HasPrefix(compact.Bytes(), []byte{'{'}) {
				return false
			}
			*field(c) = compact.Bytes()
			return true
		},
	}
}
