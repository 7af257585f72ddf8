package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi/client"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Defaults of scan. One try, because a frame can change a device that is no controller.
const (
	scanTimeout = 500 * time.Millisecond
	scanTries   = 1
)

// span is a range of even addresses.
type span struct{ from, to ipmi.Address }

// allAddresses leaves out the addresses that I2C reserves (I2C-bus specification, table 4).
var allAddresses = []span{{0x10, 0xEE}}

// usualAddresses are where management controllers are:
//
//   - 20h is the BMC (IPMB v1.0, section 3.1); servers have their other controllers behind it, such
//     as the management engine at 2Ch.
//   - 70h to 8Eh: AdvancedMC and MicroTCA modules have 70h to A4h (AMC.0), AdvancedTCA boards the
//     addresses from 82h on, by slot (PICMG 3.0).
//   - B0h to DEh: CompactPCI boards have B0h to ECh, by slot (PICMG 2.9), hot-swap controllers of
//     disks C0h and more.
//
// The parts of these ranges that are left out belong to other chips on most boards: 90h to AEh to
// temperature sensors and EEPROMs, E0h to EEh to multiplexers, which a frame would switch.
var usualAddresses = []span{{0x20, 0x2E}, {0x70, 0x8E}, {0xB0, 0xDE}}

type scanFlags struct {
	retryFlags
	from, to string
	all, yes bool
}

func (a *app) scanCommand() *cobra.Command {
	flags := scanFlags{retryFlags: retryFlags{scanTimeout, scanTries}}
	command := &cobra.Command{
		Use:   "scan BUS",
		Short: "Find the nodes on a bus",
		Long: `Send Get Device ID to addresses of a bus, and show the nodes that respond and their device
IDs. A node that responds with an error is shown too. Ctrl-C shows what was found.

WARNING: a device that is no controller takes the request as data. An EEPROM can be
changed by it, and a multiplexer switched. So scan asks only the addresses that
controllers usually have, once each:

  20h to 2Eh  the BMC and the other controllers of a server
  70h to 8Eh  AdvancedMC modules and AdvancedTCA boards
  B0h to DEh  CompactPCI boards, hot-swap controllers
  and the remote address of the bus

It leaves out 90h to AEh, where temperature sensors and EEPROMs are, E0h to EEh, where
multiplexers are, and our own address. --all asks 10h to EEh; --from and --to ask a
range. On a terminal scan asks before it begins, except with --yes.`,
		Example: `  ipmbctl scan bus0
  ipmbctl scan bus0 --from 0x20 --to 0x40 --timeout 1s
  ipmbctl scan bus0 --all --yes
  ipmbctl scan bus0 --json | jq '.answers[].address'`,
		Args:              needBus(1),
		ValidArgsFunction: a.completeNames(1, false),
		RunE:              withFlags(&flags, a.scan),
	}
	f := command.Flags()
	f.StringVar(&flags.from, "from", "", "first `ADDR` to ask, of all")
	f.StringVar(&flags.to, "to", "", "last `ADDR` to ask, of all")
	f.BoolVar(&flags.all, "all", false, "ask all addresses, 10h to EEh")
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask before the scan")
	flags.define(f)
	return command
}

// spans are the ranges to ask.
func (f scanFlags) spans() ([]span, error) {
	if f.from == "" && f.to == "" {
		if f.all {
			return allAddresses, nil
		}
		return usualAddresses, nil
	}
	if f.all {
		return nil, usage("--all is every address; leave out --from and --to")
	}
	asked := allAddresses[0]
	var err error
	if f.from != "" {
		if asked.from, err = parseAddress(f.from); err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
	}
	if f.to != "" {
		if asked.to, err = parseAddress(f.to); err != nil {
			return nil, fmt.Errorf("--to: %w", err)
		}
	}
	return []span{asked}, nil
}

// addresses lists the addresses to ask on a bus.
func (f scanFlags) addresses(bus client.Bus) ([]ipmi.Address, error) {
	spans, err := f.spans()
	if err != nil {
		return nil, err
	}
	var addresses []ipmi.Address
	for n := 0x02; n <= 0xFE; n += 2 {
		address := ipmi.Address(n)
		wanted := slices.ContainsFunc(spans, func(s span) bool { return s.from <= address && address <= s.to })
		if f.from == "" && f.to == "" && address == bus.RemoteAddress {
			wanted = true
		}
		if wanted && address != bus.OwnAddress {
			addresses = append(addresses, address)
		}
	}
	if len(addresses) == 0 {
		return nil, usage("no address from %s to %s but our own", spans[0].from, spans[0].to)
	}
	return addresses, nil
}

// confirm asks the user before a scan, if there is one at a terminal.
func (a *app) confirm(ctx context.Context, bus string, addresses int) error {
	if !a.isTerminal(a.stdin) || !a.isTerminal(a.stderr) {
		return nil
	}
	fmt.Fprintf(a.stderr, "This writes to %s of %s. A device there that is no controller, such as\n"+
		"an EEPROM, can be changed by it. Go on? [y/N] ", counted(addresses, "address"), bus)
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
		return ctx.Err()
	case line, answered := <-a.readLines(ctx):
		if !answered { // by Ctrl-D, say: the cursor is behind the question
			fmt.Fprintln(a.stderr)
		}
		switch strings.ToLower(strings.TrimSpace(line.text)) {
		case "y", "yes":
			return nil
		}
		return &advisedError{errors.New("not scanned"), "--yes scans without asking", nil}
	}
}

func (a *app) scan(ctx context.Context, args []string, flags scanFlags) error {
	policy, err := flags.policy()
	if err != nil {
		return err
	}
	if _, err := flags.spans(); err != nil {
		return err
	}
	return a.withClient(ctx, func(ipmbd *client.Client) error {
		bus, err := busThatIsUp(ctx, ipmbd, args[0])
		if err != nil {
			return err
		}
		addresses, err := flags.addresses(bus)
		if err != nil {
			return err
		}
		if !flags.yes {
			if err := a.confirm(ctx, bus.Name, len(addresses)); err != nil {
				return err
			}
		}
		found, err := a.probe(ctx, ipmbd, bus, addresses, policy)
		if err == nil {
			// On a bus that went down during the scan, no node responds.
			_, err = busThatIsUp(ctx, ipmbd, bus.Name)
		}
		if err != nil && found.asked == 0 {
			return err
		}
		return cmp.Or(a.showScan(bus.Name, found), err)
	})
}

// busThatIsUp returns a bus, or an error if it is down.
func busThatIsUp(ctx context.Context, ipmbd *client.Client, name string) (client.Bus, error) {
	bus, err := ipmbd.Bus(ctx, name)
	if err == nil && bus.State == client.Down {
		err = downError(bus)
	}
	return bus, err
}

// outcome is the result of the request to one address.
type outcome struct {
	address  ipmi.Address
	response ipmi.Response
	err      error
}

// tally is the result of a scan.
type tally struct {
	driver         bool // the bus is behind a driver, which says C3h for a node that is silent or absent
	addresses      int  // to ask
	asked          int
	answers        []outcome
	silent         []ipmi.Address // took the request and did not respond
	unacknowledged int            // no node
	failed         int            // the bus was stuck or busy
}

// addOutcome counts an outcome. It returns the errors after which the next request would fail too.
func (t *tally) addOutcome(o outcome) error {
	switch {
	case o.err == nil && o.response.Code == ipmi.CodeTimeout && t.driver, errors.Is(o.err, ipmb.ErrTimeout):
		t.silent = append(t.silent, o.address)
	case o.err == nil:
		t.answers = append(t.answers, o)
	case errors.Is(o.err, client.ErrUnavailable):
		t.unacknowledged++
	case errors.Is(o.err, client.ErrWriteFailure), errors.Is(o.err, ipmb.ErrBusy):
		t.failed++
	default:
		return o.err
	}
	t.asked++
	return nil
}

// answered says how many addresses answer.
func (t *tally) answered() string {
	verb := "answer"
	if len(t.answers) == 1 {
		verb = "answers"
	}
	return fmt.Sprintf("%d of %s %s", len(t.answers), counted(t.addresses, "address"), verb)
}

// summary says what became of the addresses that did not respond.
func (t *tally) summary() string {
	silent := fmt.Sprintf("%d silent", len(t.silent))
	if n := len(t.silent); n > 0 && n <= 8 { // A bus without any node can have a hundred.
		silent += " " + fmt.Sprint(t.silent)
	}
	text := fmt.Sprintf("%d not acknowledged, %s, %d not carried by the bus", t.unacknowledged, silent, t.failed)
	if left := t.addresses - t.asked; left > 0 {
		text += fmt.Sprintf(", %d without a result", left)
	}
	return text
}

// driverTransport is the transport of buses behind Linux's IPMI driver, which reports both no
// response and no acknowledgement as C3h.
const driverTransport = "openipmi"

// maxProbes limits the requests in progress. ipmbd allows a program more calls, but other programs
// need the bus too.
const maxProbes = 16

// probe sends Get Device ID to all addresses and shows its progress. With an error it returns what
// it has found.
func (a *app) probe(
	ctx context.Context, ipmbd *client.Client, bus client.Bus, addresses []ipmi.Address, policy ipmb.RetryPolicy,
) (found tally, err error) {
	todo, outcomes := make(chan ipmi.Address, len(addresses)), make(chan outcome, len(addresses))
	for _, address := range addresses {
		todo <- address
	}
	close(todo)
	var workers sync.WaitGroup
	defer workers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // Then the other requests fail at once.
	for range maxProbes {
		workers.Go(func() {
			for address := range todo {
				response, err := ipmbd.Send(ctx, bus.Name, ipmb.Request{
					Responder: address, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID,
					RetryPolicy: policy, FailFast: true,
				})
				outcomes <- outcome{address, response, err}
			}
		})
	}
	defer a.showProgress("")
	found = tally{driver: bus.Transport == driverTransport, addresses: len(addresses)}
	for range addresses {
		if err = found.addOutcome(<-outcomes); err != nil {
			break
		}
		a.showProgress("%s: asked %d of %s, %d found", bus.Name, found.asked, counted(len(addresses), "address"), len(found.answers))
	}
	slices.SortFunc(found.answers, func(a, b outcome) int { return cmp.Compare(a.address, b.address) })
	slices.Sort(found.silent)
	return found, err
}

type scanJSON struct {
	Bus            string         `json:"bus"`
	Asked          int            `json:"asked"`
	Answers        []scanNodeJSON `json:"answers"`
	Silent         []uint16       `json:"silent"`
	Unacknowledged int            `json:"notAcknowledged"`
	Failed         int            `json:"failed"`
	Incomplete     bool           `json:"incomplete,omitempty"` // not all addresses have a result
}

type scanNodeJSON struct {
	Address uint8 `json:"address"`
	responseJSON
}

func (a *app) showScan(bus string, found tally) error {
	document := scanJSON{Bus: bus, Asked: found.asked, Answers: []scanNodeJSON{},
		Silent: numbers(found.silent), Unacknowledged: found.unacknowledged, Failed: found.failed,
		Incomplete: found.asked < found.addresses}
	rows := heading("ADDR", "ANSWER")
	for _, o := range found.answers {
		document.Answers = append(document.Answers, scanNodeJSON{uint8(o.address),
			newResponseJSON(ipmi.NetFnApp, ipmi.CommandGetDeviceID, o.response)})
		rows = append(rows, append(row(o.address.String()), nodeCell(o.response)))
	}
	text := ""
	if len(found.answers) > 0 {
		text = a.colour.table(rows)
	}
	if err := a.show(document, text); err != nil || a.json {
		return err
	}
	a.note("%s on %s; %s", found.answered(), bus, found.summary())
	return nil
}

// nodeCell shows the device ID of a node.
func nodeCell(r ipmi.Response) cell {
	if device, ok := deviceOf(ipmi.NetFnApp, ipmi.CommandGetDeviceID, r); ok {
		return cell{text: device.String()}
	}
	if r.Code == ipmi.CodeOK {
		return cell{"an answer that is no device ID: " + hexBytes(r.Data), yellow}
	}
	return codeCell(ipmi.NetFnApp, ipmi.CommandGetDeviceID, r.Code)
}
