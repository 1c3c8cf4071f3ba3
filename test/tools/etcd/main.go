// Command etcd is etcd's own server, built from the module that go.mod pins, so that tests compare with a real one
// without downloading a release.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
