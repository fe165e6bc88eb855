package events

import (
	"errors"
	"net/url"
	"strings"
)

// collectionPath is the resource of the Events API that publishes and streams.
const collectionPath = "/api/v1/events"

// ErrURL means that a URL cannot be that of an Events API. The URL itself is
// not repeated: it may hold a password.
var ErrURL = errors.New("the Events URL must be an absolute http or https URL without user, query or fragment")

// CollectionURL turns what operators write, the root of the service, a root
// with a path or the collection itself, into the collection's URL without a
// trailing slash. Its error is ErrURL.
func CollectionURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#") {
		return "", ErrURL
	}
	root := strings.TrimRight(u.EscapedPath(), "/")
	if !strings.HasSuffix(root, collectionPath) {
		root += collectionPath
	}
	return u.Scheme + "://" + u.Host + root, nil
}
