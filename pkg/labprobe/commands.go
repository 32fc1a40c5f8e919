package labprobe

import "slices"

// commands is the table of all commands. Each subject has a file that
// contributes a slice; outputs are declared there without build tags, and Run
// is a function where the platform has it and nil where not.
var commands = slices.Concat(
	identityCommands,
	processCommands,
	fileCommands,
	wasiCommands,
	syscallCommands,
	privilegeCommands,
	limitCommands,
	benchCommands,
	workCommands,
	measureCommands,
	nodeCommands,
	bpfCommands,
	networkCommands,
	reachCommands,
	hardwareCommands,
)
