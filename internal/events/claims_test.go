package events

import (
	"encoding/base64"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

func TestInspectToken(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f := func(claims string, expires time.Time, scopes []string, want error) {
		t.Helper()
		token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
		gotExpires, gotScopes, err := InspectToken(secret.New(token), now)
		if !gotExpires.Equal(expires) || !slices.Equal(gotScopes, scopes) || !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, %q, %v; want %v, %q, %v", claims, gotExpires, gotScopes, err, expires, scopes, want)
		}
	}
	both := []string{"vm:read", "vm:write"}
	f(`{"exp":1795435201,"scope":"vm:read vm:write"}`, now.Add(time.Second), both, nil)
	f(`{"exp":1795435200,"scope":" vm:read  vm:write "}`, now, both, ErrTokenExpired)
	f(`{"exp":0,"scope":"vm:read vm:write"}`, time.Unix(0, 0), both, ErrTokenExpired)
	f(`{"exp":1795435201.9}`, now.Add(time.Second), nil, nil)
	f(`{"exp":1e300}`, time.Time{}, nil, nil)
	f(`{}`, time.Time{}, nil, nil)
	f(`{"exp":"soon"}`, time.Time{}, nil, errTokenOpaque)
	f(`{"scope":["vm:read"]}`, time.Time{}, nil, errTokenOpaque)
	f(`not json`, time.Time{}, nil, errTokenOpaque)

	for _, token := range []string{"", "opaque", "a.b", "a.b.c.d", "a.!.c"} {
		if _, _, err := InspectToken(secret.New(token), now); !errors.Is(err, errTokenOpaque) {
			t.Errorf("%q: %v", token, err)
		}
	}
}
