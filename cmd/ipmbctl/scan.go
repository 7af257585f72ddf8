package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi/client"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Defaults of scan. I2C reserves the addresses outside of this range (I2C-bus specification, table
// 4).
const (
	scanFrom    = "0x10"
	scanTo      = "0xEE"
	scanTimeout = 250 * time.Millisecond
	scanTries   = 2
)

type scanFlags struct {
	retryFlags
	from, to string
}

func (a *app) scanCommand() *cobra.Command {
	flags := scanFlags{retryFlags: retryFlags{scanTimeout, scanTries}}
	command := &cobra.Command{
		Use:   "scan BUS",
		Short: "Find the nodes on a bus",
		Long: `Send Get Device ID to every address of a bus except our own, and show the nodes that
respond and their device IDs. A node that responds with an error is shown too.`,
		Example: `  ipmbctl scan bus0
  ipmbctl scan bus0 --from 0x20 --to 0x40 --timeout 1s
  ipmbctl scan bus0 --json | jq '.answers[].address'`,
		Args:              needBus(1),
		ValidArgsFunction: a.completeNames(1, false),
		RunE:              withFlags(&flags, a.scan),
	}
	f := command.Flags()
	f.StringVar(&flags.from, "from", scanFrom, "first `ADDR` to ask")
	f.StringVar(&flags.to, "to", scanTo, "last `ADDR` to ask")
	flags.define(command)
	return command
}

// addresses lists the addresses to ask on a bus.
func (f scanFlags) addresses(own ipmi.Address) ([]ipmi.Address, error) {
	from, err := parseAddress(f.from)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	to, err := parseAddress(f.to)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	var addresses []ipmi.Address
	for n := int(from); n <= int(to); n += 2 {
		if address := ipmi.Address(n); address != own {
			addresses = append(addresses, address)
		}
	}
	if len(addresses) == 0 {
		return nil, usage("no address from %s to %s but our own", from, to)
	}
	return addresses, nil
}

func (a *app) scan(ctx context.Context, args []string, flags scanFlags) error {
	name := args[0]
	policy, err := flags.policy()
	if err != nil {
		return err
	}
	return a.withClient(ctx, func(ipmbd *client.Client) error {
		bus, err := busThatIsUp(ctx, ipmbd, name)
		if err != nil {
			return err
		}
		addresses, err := flags.addresses(bus.OwnAddress)
		if err != nil {
			return err
		}
		found, err := a.probe(ctx, ipmbd, name, addresses, policy)
		if err != nil {
			return err
		}
		// On a bus that went down during the scan, no node responds.
		if _, err := busThatIsUp(ctx, ipmbd, name); err != nil {
			return err
		}
		return a.showScan(name, found)
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
	asked          int
	answers        []outcome
	silent         []ipmi.Address // took the request and did not respond
	unacknowledged int            // no node
	failed         int            // the bus was stuck or busy
}

// addOutcome counts an outcome. It returns the errors after which the next request would fail too.
func (t *tally) addOutcome(o outcome) error {
	switch {
	// Another program, such as the kernel, may send C3h for a node that is silent.
	case o.err == nil && o.response.Code == ipmi.CodeTimeout, errors.Is(o.err, ipmb.ErrTimeout):
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

// summary says what became of the addresses that did not respond.
func (t *tally) summary() string {
	silent := fmt.Sprintf("%d silent", len(t.silent))
	if n := len(t.silent); n > 0 && n <= 8 { // A bus without any node can have a hundred.
		silent += " " + fmt.Sprint(t.silent)
	}
	return fmt.Sprintf("%d not acknowledged, %s, %d not carried by the bus", t.unacknowledged, silent, t.failed)
}

// maxProbes limits the requests in progress. ipmbd allows a program more calls, but other programs
// need the bus too.
const maxProbes = 16

// probe sends Get Device ID to all addresses and shows its progress.
func (a *app) probe(
	ctx context.Context, ipmbd *client.Client, bus string, addresses []ipmi.Address, policy ipmb.RetryPolicy,
) (tally, error) {
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
				response, err := ipmbd.Send(ctx, bus, ipmb.Request{
					Responder: address, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID,
					RetryPolicy: policy, FailFast: true,
				})
				outcomes <- outcome{address, response, err}
			}
		})
	}
	defer a.showProgress("")
	var found tally
	for range addresses {
		if err := found.addOutcome(<-outcomes); err != nil {
			return found, err
		}
		a.showProgress("%s: asked %d of %d addresses, %d answer",
			bus, found.asked, len(addresses), len(found.answers))
	}
	slices.SortFunc(found.answers, func(a, b outcome) int { return cmp.Compare(a.address, b.address) })
	slices.Sort(found.silent)
	return found, nil
}

type scanJSON struct {
	Bus            string         `json:"bus"`
	Asked          int            `json:"asked"`
	Answers        []scanNodeJSON `json:"answers"`
	Silent         []uint16       `json:"silent"`
	Unacknowledged int            `json:"notAcknowledged"`
	Failed         int            `json:"failed"`
}

type scanNodeJSON struct {
	Address uint8 `json:"address"`
	responseJSON
}

func (a *app) showScan(bus string, found tally) error {
	document := scanJSON{Bus: bus, Asked: found.asked, Answers: []scanNodeJSON{},
		Silent: numbers(found.silent), Unacknowledged: found.unacknowledged, Failed: found.failed}
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
	a.note("%d of %d addresses answer on %s; %s", len(found.answers), found.asked, bus, found.summary())
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
