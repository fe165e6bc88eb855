package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// directive is one of nginx: a name, arguments, and perhaps a block.
type directive struct {
	name  string
	args  []string
	block []directive
}

// parseNginx reads directives as nginx does, but forgives what it cannot know:
// a block that is never closed ends with the text.
func parseNginx(text string) []directive {
	p := &nginxParser{words: splitNginx(text)}
	var all []directive
	for len(p.words) > 0 { // after a brace too many it goes on
		all = append(all, p.block()...)
	}
	return all
}

type nginxParser struct{ words []nginxWord }

// nginxWord is a word, or one of ; { } when it is not quoted.
type nginxWord struct {
	text   string
	quoted bool
}

func (w nginxWord) is(mark string) bool { return !w.quoted && w.text == mark }

func (p *nginxParser) next() nginxWord {
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

// block reads up to the brace that closes it.
func (p *nginxParser) block() (all []directive) {
	var words []string
	for len(p.words) > 0 {
		switch w := p.next(); {
		case w.is("}"):
			return all
		case w.is(";"), w.is("{"):
			var inner []directive
			if w.is("{") {
				inner = p.block()
			}
			if len(words) > 0 {
				all = append(all, directive{words[0], words[1:], inner})
			}
			words = nil
		default:
			words = append(words, w.text)
		}
	}
	return all
}

// splitNginx cuts text into words. A word that begins with a quote ends with
// it; a backslash takes the character behind it as it is; # begins a comment
// where a word could begin; ${ belongs to a word.
func splitNginx(text string) (words []nginxWord) {
	const blank, marks = " \t\r\n", ";{}"
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case strings.IndexByte(blank, c) >= 0:
			i++
		case c == '#':
			end := strings.IndexByte(text[i:], '\n')
			if end < 0 {
				return words
			}
			i += end
		case strings.IndexByte(marks, c) >= 0:
			words = append(words, nginxWord{string(c), false})
			i++
		case c == '"' || c == '\'':
			word, length := quotedWord(text[i:])
			words = append(words, nginxWord{word, true})
			i += length
		default:
			var word strings.Builder
			for ; i < len(text) && strings.IndexByte(blank+marks, text[i]) < 0; i++ {
				if text[i] == '\\' && i+1 < len(text) {
					i++
				} else if strings.HasPrefix(text[i:], "${") {
					end := strings.IndexByte(text[i:], '}')
					if end > 0 {
						word.WriteString(text[i : i+end])
						i += end
					}
				}
				word.WriteByte(text[i])
			}
			words = append(words, nginxWord{word.String(), false})
		}
	}
	return words
}

// quotedWord reads the word that text begins with, and its length with quotes.
func quotedWord(text string) (word string, length int) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == text[0]:
			return b.String(), i + 1
		case text[i] == '\\' && i+1 < len(text) && (text[i+1] == text[0] || text[i+1] == '\\'):
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String(), len(text)
}

const (
	// dumpMark begins each file in the output of nginx -T.
	dumpMark = "# configuration file "
	// maxIncludes bounds files that include each other.
	maxIncludes = 200
)

// readNginx reads a configuration file with what it includes, or the output of
// nginx -T, which holds that already.
func readNginx(path string) ([]directive, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	all := parseNginx(string(text))
	if strings.HasPrefix(string(text), dumpMark) || strings.Contains(string(text), "\n"+dumpMark) {
		return all, nil
	}
	left := maxIncludes
	return include(all, filepath.Dir(path), &left), nil
}

// include puts the files of include directives in their place. What cannot be
// read is passed over: nginx itself says so better.
func include(block []directive, dir string, left *int) (all []directive) {
	for _, d := range block {
		if d.name != "include" || len(d.args) != 1 {
			d.block = include(d.block, dir, left)
			all = append(all, d)
			continue
		}
		pattern := d.args[0]
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(dir, pattern)
		}
		files, _ := filepath.Glob(pattern) // a bad pattern matches nothing
		slices.Sort(files)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil || *left == 0 {
				continue
			}
			*left--
			all = append(all, include(parseNginx(string(text)), dir, left)...)
		}
	}
	return all
}
