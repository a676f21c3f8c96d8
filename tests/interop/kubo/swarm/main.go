// Command swarm runs DHT servers in one process, some of them with faults, for tests.
//
// It prints one line of JSON with the addresses of all peers, then reads commands from standard
// input, one a line, and answers each with one line of JSON. It ends when standard input does.
//
//	put NAME RECORD              store an IPNS record (base64) by the DHT's own put
//	place NAME RECORD PEER…      store it at these peers only, by number
//	lie NAME RECORD…             what the peers that lie answer for the name
//	provide CID                  announce the publisher as a provider of the CID
//	slow MILLISECONDS PEER…      delay the first answer on each stream
//	stop                         end
//
// A fault shows towards peers outside of the process alone. So a put reaches all peers in a short
// time, and the record is then held by peers with faults too.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The longest line: a record of 10 KiB in base64, or several of them.
const maxLine = 256 << 10

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "swarm:", err)
		os.Exit(1)
	}
}

func run() error {
	settings, err := parseFlags()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	swarm, err := start(ctx, settings)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(swarm.describe()); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		if words[0] == "stop" {
			return nil
		}
		answer, err := swarm.command(ctx, words[0], words[1:])
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

// Settings are the arguments of the program.
type Settings struct {
	peers  int
	seed   uint64
	prefix string
	listen list
	shares shares
}

func parseFlags() (Settings, error) {
	settings := Settings{shares: shares{}}
	flag.IntVar(&settings.peers, "peers", 20, "number of peers")
	flag.Uint64Var(&settings.seed, "seed", 1, "seed of the keys and the order of the behaviours")
	flag.StringVar(&settings.prefix, "prefix", "/ipfs", "protocol prefix: /ipfs or /ipfs/lan")
	flag.Var(&settings.listen, "listen", "multiaddr; repeatable, and used in turns")
	flag.Var(settings.shares, "share", "BEHAVIOUR=PART of all peers, 0 to 1; repeatable")
	flag.Parse()
	if len(settings.listen) == 0 {
		settings.listen = list{"/ip4/127.0.0.1/tcp/0"}
	}
	if settings.peers < 1 || flag.NArg() > 0 {
		return settings, fmt.Errorf("one peer is the least, and there are no arguments beside options")
	}
	return settings, nil
}

type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(text string) error {
	*l = append(*l, text)
	return nil
}

type shares map[Behaviour]float64

func (s shares) String() string { return "" }

func (s shares) Set(text string) error {
	name, number, _ := strings.Cut(text, "=")
	part, err := strconv.ParseFloat(number, 64)
	if err != nil || part < 0 || part > 1 {
		return fmt.Errorf("%q is no part of 1", number)
	}
	if !known[Behaviour(name)] {
		return fmt.Errorf("%q is no behaviour", name)
	}
	s[Behaviour(name)] = part
	return nil
}
