package events

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

const (
	// fileCheckInterval is how old the last look at a token file may be.
	fileCheckInterval = time.Second
	// maxTokenFile bounds a token file in bytes; real tokens take up to 8 KiB.
	maxTokenFile = 64 << 10
)

// FileToken is the token in a file, surrounding white space not counted. A
// changed file is noticed within a second of use and whenever its token is
// refused; while it holds none, the last good token stays in use, and logger
// gets one line.
func FileToken(path string, logger *slog.Logger) TokenSource {
	f := &fileToken{path: path, logger: logger, now: time.Now}
	f.read = f.readFile
	return f
}

type fileToken struct {
	rereadToken
	path   string
	logger *slog.Logger
	now    func() time.Time

	// Guarded by rereadToken.mu.
	looked  time.Time
	seen    os.FileInfo // of the content last read; nil before
	failing bool        // and said so
}

func (f *fileToken) Token() (secret.String, error) {
	f.lookAgain()
	return f.rereadToken.Token()
}

// lookAgain reads the file if it is another than the one read last.
func (f *fileToken) lookAgain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if f.token.IsZero() || now.Sub(f.looked) < fileCheckInterval {
		return
	}
	f.looked = now
	// Followed through symbolic links: mounted secrets are exchanged by one.
	info, err := os.Stat(f.path)
	if err == nil && os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size() {
		f.failing = false
		return
	}
	err = f.reload()
	if err != nil && !f.failing {
		f.logger.Warn("the token file changed but holds no token; the last good one stays in use until the file is put right",
			"cause", err)
	}
	f.failing = err != nil
}

// readFile is called with mu held.
func (f *fileToken) readFile() (secret.String, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return secret.String{}, fmt.Errorf("the token file: %w", err)
	}
	defer file.Close()
	// The description is taken first: a change while reading shows next time.
	info, err := file.Stat()
	if err != nil {
		return secret.String{}, fmt.Errorf("the token file: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxTokenFile))
	if err != nil {
		return secret.String{}, fmt.Errorf("the token file: %w", err)
	}
	token := secret.New(strings.TrimSpace(string(content)))
	if err := checkToken(token); err != nil {
		return secret.String{}, fmt.Errorf("the token file %s: %w", f.path, err)
	}
	f.seen, f.looked = info, f.now()
	return token, nil
}
