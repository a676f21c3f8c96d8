// The peer of tests/interop/test_ipfs.py: boxo's readers, client and gateway, and nothing of our own.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipld/merkledag"
	unixfs "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	carstore "github.com/ipld/go-car/v2/blockstore"
)

func main() {
	switch os.Args[1] {
	case "cat": // CAR CID
		cat(opened(os.Args[2]), os.Args[3])
	case "fetch": // URL CID
		store, err := gateway.NewRemoteBlockstore([]string{os.Args[2]}, http.DefaultClient)
		must(err)
		cat(store, os.Args[3])
	case "serve": // CAR ADDRESS
		store := opened(os.Args[2])
		backend, err := gateway.NewBlocksBackend(blockservice.New(store, offline.Exchange(store)))
		must(err)
		handler := gateway.NewHandler(gateway.Config{DeserializedResponses: true}, backend)
		must(http.ListenAndServe(os.Args[3], handler))
	}
}

func cat(store blockstore.Blockstore, name string) {
	ctx := context.Background()
	root, err := cid.Decode(name)
	must(err)
	dag := merkledag.NewDAGService(blockservice.New(store, offline.Exchange(store)))
	node, err := dag.Get(ctx, root)
	must(err)
	reader, err := unixfs.NewDagReader(ctx, node, dag)
	must(err)
	_, err = io.Copy(os.Stdout, reader)
	must(err)
}

func opened(path string) blockstore.Blockstore {
	store, err := carstore.OpenReadOnly(path)
	must(err)
	return store
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
