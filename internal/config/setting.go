package config

import "slices"

// Group is a topic of settings, in the order of the documents.
type Group string

// The groups.
const (
	GroupGeneral  Group = "General"
	GroupListen   Group = "Listening"
	GroupBackend  Group = "Backends"
	GroupEvents   Group = "Bus Events"
	GroupTokens   Group = "Callers' tokens"
	GroupStatic   Group = "Static backend"
	GroupStatus   Group = "Status snapshot"
	GroupShutdown Group = "Shutting down"
	GroupAdmin    Group = "Admin listener"
	GroupLog      Group = "Logging"
)

// Setting is one row of the table: the single source of a setting's names,
// default, bounds and words.
type Setting struct {
	// Key is the path in the YAML file, such as `jwt.leeway`.
	Key string
	// NotInFile marks the two settings that cannot stand in the file itself.
	NotInFile bool
	// Flag is the long flag without dashes; empty for none. Secrets have none:
	// a command line is readable by every user of the machine.
	Flag string
	// Env is the environment name; empty for none.
	Env string
	// Ambient is an environment name that others set for every process. It
	// counts only when the setting is set nowhere else.
	Ambient string
	// Default is the text that stands for an unset setting.
	Default string
	Group   Group
	// Usage is one sentence, with its full stop.
	Usage string
	// Secret values appear in no output.
	Secret bool
	// Reload is how a running service follows a change.
	Reload Reload
	// Presets are flags that stand for one value of this setting.
	Presets []Preset

	kind kind
}

// Reload says what a running service follows, within two seconds or at once on
// SIGHUP. Flags and the environment of a process never change, so only files
// are in question.
type Reload string

// The ways of Reload.
const (
	// ReloadNothing: a change needs a restart.
	ReloadNothing Reload = ""
	// ReloadFile: the value in the YAML file is followed.
	ReloadFile Reload = "the value in the YAML file is followed"
	// ReloadContent: what the setting points at is followed; pointing it
	// elsewhere needs a restart.
	ReloadContent Reload = "what it points at is followed; another value needs a restart"
	// ReloadRefused: followed where another setting asks for it.
	ReloadRefused Reload = "with `events.token_refresh`, the value in the YAML file is read again when it is refused"
	// ReloadBoth: both of these.
	ReloadBoth Reload = "the value in the YAML file and what it points at are followed"
)

// Preset is a flag without a value, such as -v for log.level=debug.
type Preset struct{ Flag, Short, Value, Usage string }

// Allowed says what the setting may be.
func (s Setting) Allowed() string { return s.kind.allowed }

// Choices lists the values of a setting that has only so many, else nil.
func (s Setting) Choices() []string { return slices.Clone(s.kind.choices) }

// ValueName stands for the value in help, such as `duration`; `bool` for a flag
// that is complete without one.
func (s Setting) ValueName() string { return s.kind.name }

// Settings returns the table, grouped, in the order of the documents.
func Settings() []Setting {
	return slices.Concat(general(), listening(), backends(), events(), tokens(),
		static(), status(), shutdown(), admin(), logging())
}

// Groups returns the groups in the order of the documents.
func Groups() []Group {
	var groups []Group
	for _, s := range Settings() {
		if !slices.Contains(groups, s.Group) {
			groups = append(groups, s.Group)
		}
	}
	return groups
}

// byKey indexes table.
func byKey(table []Setting) map[string]Setting {
	index := make(map[string]Setting, len(table))
	for _, s := range table {
		index[s.Key] = s
	}
	return index
}
