package token

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMintRefusesWhatNobodyCouldUse(t *testing.T) {
	for _, c := range []struct {
		claims Claims
		want   string
	}{
		{Claims{"", Audience, "vm:read", time.Hour}, "the subject is empty"},
		{Claims{DevSubject, "", "vm:read", time.Hour}, "the audience is empty"},
		{Claims{DevSubject, Audience, "vm:read", time.Second - 1}, "the lifetime (--ttl) is less than a second"},
	} {
		got, err := Mint([]byte(testSecret), c.claims, epoch)
		assert.Empty(t, got)
		assert.EqualError(t, err, c.want)
	}
}

func TestSecretTexts(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", "cGxhaW4=": "cGxhaW4=", " spaced ": " spaced ",
		"base64:cGxhaW4=": "plain", "base64:cGxhaW4": "plain", "base64:+/+/": "\xfb\xff\xbf",
	} {
		got, err := ParseSecret(text)
		assert.NoError(t, err, text)
		assert.Equal(t, want, string(got), text)
	}
	const empty, notBase64 = "the secret is empty", "what follows base64: is not base64"
	for text, want := range map[string]string{
		"": empty, "base64:": empty, "base64:====": empty,
		"base64:-_-_": notBase64, "base64:a": notBase64, "base64:hunter2!": notBase64,
	} {
		_, err := ParseSecret(text)
		assert.EqualError(t, err, want, text)
	}
}

// Neither a byte order mark nor a comment behind one becomes a part of a key.
func TestSecretFileWithByteOrderMark(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	for _, text := range []string{"\ufefffirst\nsecond\n", "\ufeff# two\nfirst\nsecond\n", "first\n\ufeff# joined\n \ufeff second\r\n"} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		got, err := ReadSecrets(file)
		require.NoError(t, err)
		assert.Equal(t, [][]byte{[]byte("first"), []byte("second")}, got, "%q", text)
	}
	require.NoError(t, os.WriteFile(file, []byte("\xff\xfef\x00i\x00"), 0o600))
	_, err := ReadSecrets(file)
	assert.EqualError(t, err, "the file is in UTF-16; save it as UTF-8")
}
