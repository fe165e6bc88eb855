package address

import (
	"os/user"
	"strconv"
)

// GroupID is the number of a group that a unix socket may be given to; it may
// be given as a number already.
func GroupID(group string) (int, error) {
	if known, err := user.LookupGroup(group); err == nil {
		group = known.Gid
	} else if _, notNumber := strconv.ParseUint(group, 10, 31); notNumber != nil {
		return 0, err
	}
	return strconv.Atoi(group)
}
