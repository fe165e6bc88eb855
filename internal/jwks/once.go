package jwks

import "context"

// Fetch asks for the document at rawURL once, the way a Remote does. The error
// is ErrURL, or says why there is no set; it does not repeat the URL.
func Fetch(ctx context.Context, rawURL string) (*Set, error) {
	r, err := NewRemote(RemoteConfig{URL: rawURL})
	if err != nil {
		return nil, err
	}
	defer r.client.CloseIdleConnections()
	got, err := r.fetch(ctx)
	if err != nil {
		return nil, err
	}
	return Parse(got.document)
}
