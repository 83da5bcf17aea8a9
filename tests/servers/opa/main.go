// The Open Policy Agent's own command, as its module has it: what the tests of the OPA engine are run against where it
// has been built (scripts/opa).
package main

import (
	"fmt"
	"os"

	"github.com/open-policy-agent/opa/cmd"
)

func main() {
	if err := cmd.RootCommand.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
