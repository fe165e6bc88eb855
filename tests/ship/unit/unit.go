// Package unit reads systemd unit files, as far as the tests of this repository
// need it: sections, lists that an empty value clears, and drop-ins. Quoting,
// continued lines and specifiers are not understood; the shipped units have
// none.
package unit

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// File is a unit with its drop-ins: "Section.Name" to its values in order.
type File map[string][]string

// Read reads a unit file and after it the drop-ins, in the order given.
func Read(path string, dropIns ...string) (File, error) {
	file := File{}
	for _, part := range append([]string{path}, dropIns...) {
		if err := file.add(part); err != nil {
			return nil, err
		}
	}
	return file, nil
}

// Find reads the unit of a name from the first directory that has it, with the
// drop-ins of all, sorted by their names (systemd.unit(5)).
func Find(name string, directories ...string) (File, error) {
	byName := map[string]string{}
	path := ""
	for _, directory := range directories {
		candidate := filepath.Join(directory, name)
		if _, err := os.Stat(candidate); err == nil && path == "" {
			path = candidate
		}
		dropIns, err := filepath.Glob(filepath.Join(candidate+".d", "*.conf"))
		if err != nil {
			return nil, err
		}
		for _, dropIn := range dropIns {
			if base := filepath.Base(dropIn); byName[base] == "" {
				byName[base] = dropIn
			}
		}
	}
	if path == "" {
		return nil, fmt.Errorf("unit %s not found", name)
	}
	var dropIns []string
	for _, dropIn := range byName {
		dropIns = append(dropIns, dropIn)
	}
	slices.SortFunc(dropIns, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	return Read(path, dropIns...)
}

func (f File) add(path string) error {
	opened, err := os.Open(path)
	if err != nil {
		return err
	}
	defer opened.Close()
	section := ""
	lines := bufio.NewScanner(opened)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			section = line[1 : len(line)-1]
		default:
			name, value, found := strings.Cut(line, "=")
			if !found || section == "" {
				return fmt.Errorf("%s:%d: want a section or name=value", path, number)
			}
			key := section + "." + strings.TrimSpace(name)
			if value = strings.TrimSpace(value); value == "" {
				delete(f, key)
			} else {
				f[key] = append(f[key], value)
			}
		}
	}
	return lines.Err()
}

// One is the last value of a setting, "" for none.
func (f File) One(key string) string {
	values := f[key]
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// Words are the words of all values of a setting.
func (f File) Words(key string) []string {
	return strings.Fields(strings.Join(f[key], " "))
}
