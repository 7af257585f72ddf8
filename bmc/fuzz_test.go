package bmc

import (
	"testing"

	"ipmbd/ipmi"
)

// fuzzGroup sends requests of a group, and its neighbours' numbers, one after the
// other to one BMC: each gets an answer, without data if it is a refusal, that
// fits every interface.
func fuzzGroup(f *testing.F, group []command) {
	for i, c := range group {
		f.Add(uint8(i), uint8(0), uint8(0), make([]byte, c.min))
		f.Add(uint8(i), uint8(0), uint8(1), make([]byte, c.max))
		for _, tt := range refusals {
			if tt.netFn == c.netFn && tt.command == c.command {
				f.Add(uint8(i), uint8(0), uint8(0), octets(tt.data))
			}
		}
	}
	f.Fuzz(func(t *testing.T, row, lun, host uint8, data []byte) {
		b := opened(t, Config{Machine: new(fakeMachine)})
		c := group[int(row)%len(group)]
		for range 2 { // The second finds the state that the first has left.
			response, err := ipmi.Do(t.Context(), b, &ipmi.Request{
				Interface: host0, Channel: ipmi.ChannelSystemInterface, Host: int(host),
				NetFn: c.netFn, LUN: ipmi.LUN(lun), Command: c.command, Data: data,
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(response.Data) > maxAnswer || response.Code != ipmi.CodeOK && len(response.Data) > 0 {
				t.Errorf("%+v", response)
			}
		}
		for _, get := range commands { // Nor do the set values harm the commands that read.
			if get.min == 0 {
				if _, err := ipmi.Do(t.Context(), b, &ipmi.Request{Interface: host0, Host: int(host), NetFn: get.netFn, Command: get.command}); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// maxAnswer is the longest answer that all host interfaces carry: the limit of BT.
const maxAnswer = 251

func FuzzDevice(f *testing.F)     { fuzzGroup(f, deviceCommands) }
func FuzzACPI(f *testing.F)       { fuzzGroup(f, acpiCommands) }
func FuzzSystemInfo(f *testing.F) { fuzzGroup(f, systemInfoCommands) }
func FuzzWatchdog(f *testing.F)   { fuzzGroup(f, watchdogCommands) }
func FuzzChannel(f *testing.F)    { fuzzGroup(f, channelCommands) }
func FuzzUsers(f *testing.F)      { fuzzGroup(f, userCommands) }
func FuzzLAN(f *testing.F)        { fuzzGroup(f, lanCommands) }
func FuzzChassis(f *testing.F)    { fuzzGroup(f, chassisCommands) }
func FuzzBoot(f *testing.F)       { fuzzGroup(f, bootCommands) }
func FuzzPEF(f *testing.F)        { fuzzGroup(f, pefCommands) }
func FuzzPayload(f *testing.F)    { fuzzGroup(f, payloadCommands) }
