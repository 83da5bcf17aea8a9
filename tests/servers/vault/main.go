// A core of HashiCorp Vault, in memory and on loopback, with its key/value engine and AppRole: what the tests of
// the Vault source are run against where it has been built (scripts/vault). Prints its address; whoever starts
// it initialises and unseals it by its API.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"

	log "github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// What a released Vault has built in is far more, and takes far longer to build.
type builtIn struct{}

func (builtIn) Contains(name string, _ consts.PluginType) bool {
	return name == "kv" || name == "approle"
}

func (builtIn) Get(name string, _ consts.PluginType) (func() (interface{}, error), bool) {
	factories := map[string]logical.Factory{"kv": kv.Factory, "approle": approle.Factory}
	factory, there := factories[name]
	return func() (interface{}, error) { return factory, nil }, there
}

func (builtIn) Keys(consts.PluginType) []string { return []string{"kv", "approle"} }

func (builtIn) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, true
}

func need(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	logger := log.New(&log.LoggerOptions{Level: log.Error})
	storage, err := inmem.NewInmem(nil, logger)
	need(err)
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: storage, Logger: logger, DisableMlock: true, BuiltinRegistry: builtIn{},
		LogicalBackends:    map[string]logical.Factory{"kv": kv.Factory},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory},
	})
	need(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	need(err)
	fmt.Println("http://" + listener.Addr().String())
	need(http.Serve(listener, vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core})))
}
