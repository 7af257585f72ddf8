package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi"
	"ipmbd/ipmi"
)

// What a scan does unless it is told otherwise. I2C reserves the addresses
// outside of its range (I2C-bus specification, table 4).
const (
	scanFrom    = "0x10"
	scanTo      = "0xEE"
	scanTimeout = 250 * time.Millisecond
	scanTries   = 2
)

// scanFlags are the flags of scan.
type scanFlags struct {
	from, to string
	timeout  time.Duration
	tries    int
}

func (a *app) scanCommand() *cobra.Command {
	var flags scanFlags
	command := &cobra.Command{
		Use:   "scan BUS",
		Short: "Find the nodes on a bus",
		Long: `Send Get Device ID to every address of a bus but our own and show who answers,
and what they say of themselves. A node that answers with an error is shown too.`,
		Example: `  ipmbctl scan bus0
  ipmbctl scan bus0 --from 0x20 --to 0x40 --timeout 1s
  ipmbctl scan bus0 --json | jq '.answers[].address'`,
		Args:              oneBus,
		ValidArgsFunction: a.completeBuses(1),
		RunE: func(command *cobra.Command, args []string) error {
			return a.scan(command.Context(), args[0], flags)
		},
	}
	f := command.Flags()
	f.StringVar(&flags.from, "from", scanFrom, "first `ADDR` to ask")
	f.StringVar(&flags.to, "to", scanTo, "last `ADDR` to ask")
	f.DurationVar(&flags.timeout, "timeout", scanTimeout, "how long each try waits: 10ms to 1m")
	f.IntVar(&flags.tries, "tries", scanTries, "how often to try: 1 to 64")
	return command
}

// addresses are those to ask on a bus.
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

func (a *app) scan(ctx context.Context, name string, flags scanFlags) error {
	policy, err := policyOf(flags.tries, flags.timeout)
	if err != nil {
		return err
	}
	return a.withClient(ctx, func(client *dbusapi.Client) error {
		bus, err := client.Bus(ctx, name)
		if err != nil {
			return err
		}
		addresses, err := flags.addresses(bus.OwnAddress)
		if err != nil {
			return err
		}
		if bus.State == dbusapi.Down {
			return &busError{bus: bus, err: dbusapi.ErrUnavailable}
		}
		found, err := a.probe(ctx, client, bus, addresses, policy)
		if err != nil {
			return err
		}
		// A bus that goes down looks like one without nodes.
		if bus, err = client.Bus(ctx, name); err != nil {
			return err
		}
		if bus.State == dbusapi.Down {
			return &busError{bus: bus, err: dbusapi.ErrUnavailable}
		}
		return a.showScan(bus.Name, found)
	})
}

// scanJSON is the document of scan.
type scanJSON struct {
	Bus            string         `json:"bus"`
	Asked          int            `json:"asked"`
	Answers        []scanNodeJSON `json:"answers"`
	Silent         byteList       `json:"silent"`
	Unacknowledged int            `json:"notAcknowledged"`
	Failed         int            `json:"failed"`
}

type scanNodeJSON struct {
	Address uint8 `json:"address"`
	answerJSON
}

func (a *app) showScan(bus string, found tally) error {
	if a.json {
		document := scanJSON{Bus: bus, Asked: found.asked(), Answers: []scanNodeJSON{},
			Unacknowledged: found.unacknowledged, Failed: found.failed}
		for _, address := range found.silent {
			document.Silent = append(document.Silent, byte(address))
		}
		for _, o := range found.answers {
			document.Answers = append(document.Answers, scanNodeJSON{uint8(o.address),
				newAnswerJSON(ipmi.NetFnApp, ipmi.CommandGetDeviceID, o.response)})
		}
		return a.out.json(document)
	}
	if len(found.answers) > 0 {
		rows := [][]cell{heading("ADDR", "ANSWER")}
		for _, o := range found.answers {
			rows = append(rows, []cell{{text: o.address.String()}, nodeCell(o.response)})
		}
		fmt.Fprint(a.out, table(a.colourFor(a.stdout), rows))
	}
	a.note("%d of %d addresses answer on %s; %s", len(found.answers), found.asked(), bus, found.summary())
	return nil
}

// nodeCell is what a node says of itself.
func nodeCell(r ipmi.Response) cell {
	if device, ok := deviceOf(ipmi.NetFnApp, ipmi.CommandGetDeviceID, r); ok {
		return cell{text: device.String()}
	}
	if r.Code == ipmi.CodeOK {
		return cell{"an answer that is no device ID: " + hexBytes(r.Data), yellow}
	}
	return codeCell(ipmi.NetFnApp, ipmi.CommandGetDeviceID, r.Code)
}
