package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// respondFlags are the flags of respond.
type respondFlags struct {
	code, channels string
	group, iana    string
	exec           string
	timeout        time.Duration
	quiet          bool
}

// everyCommand is the word for all commands of a network function.
const everyCommand = "all"

// parse reads NETFN CMD [DATA...] or, when a program makes the answers,
// NETFN CMD...: what is answered, and without a program the answer.
func (f respondFlags) parse(words []string) ([]ipmi.Pattern, ipmi.Response, error) {
	var answer ipmi.Response
	n, words, err := parseNetFn(words)
	if err != nil {
		return nil, answer, err
	}
	commands := words
	if f.exec == "" {
		commands = words[:1]
		if answer, err = f.answer(words[1:]); err != nil {
			return nil, answer, err
		}
	}
	if err := f.checkProgram(); err != nil {
		return nil, answer, err
	}
	patterns, err := f.patterns(n, commands)
	return patterns, answer, err
}

// patterns are the requests with these commands.
func (f respondFlags) patterns(n ipmi.NetFn, commands []string) ([]ipmi.Pattern, error) {
	channels, err := parseChannels(f.channels)
	if err != nil {
		return nil, err
	}
	group, err := f.groupOf(n)
	if err != nil {
		return nil, err
	}
	var patterns []ipmi.Pattern
	for _, word := range commands {
		command := ipmi.AnyCommand
		if word != everyCommand {
			if command, err = ipmi.ParseCommand(n, word); err != nil {
				return nil, usageError{err}
			}
		}
		patterns = append(patterns, ipmi.Pattern{Channels: channels, NetFn: n, Command: command, Group: group})
	}
	return patterns, nil
}

// answer is the answer to all requests.
func (f respondFlags) answer(words []string) (ipmi.Response, error) {
	data, err := parseData(words)
	if err != nil || f.code == "" {
		return ipmi.Response{Data: data}, err
	}
	code, err := parseByte(f.code)
	if err != nil {
		return ipmi.Response{}, fmt.Errorf("--code: %w", err)
	}
	return ipmi.Response{Code: ipmi.CompletionCode(code), Data: data}, nil
}

// parseChannels reads a list of channels; an empty one is all of them.
func parseChannels(list string) (ipmi.ChannelMask, error) {
	if list == "" {
		return ipmi.AllChannels, nil
	}
	var mask ipmi.ChannelMask
	for word := range strings.SplitSeq(list, ",") {
		channel, err := parseByte(word)
		switch {
		case err != nil:
			return 0, fmt.Errorf("--channels: %w", err)
		case ipmi.Channel(channel) > ipmi.ChannelSystemInterface:
			return 0, usage("--channels: channels are 0 to %d", ipmi.ChannelSystemInterface)
		}
		mask |= ipmi.Channel(channel).Mask()
	}
	return mask, nil
}

// groupOf is the group of --group or --iana, which must fit the network
// function.
func (f respondFlags) groupOf(n ipmi.NetFn) (uint32, error) {
	switch {
	case f.group != "" && n != ipmi.NetFnGroup:
		return 0, usage("--group is for network function %02Xh, not %s", uint8(ipmi.NetFnGroup), n)
	case f.iana != "" && n != ipmi.NetFnOEM:
		return 0, usage("--iana is for network function %02Xh, not %s", uint8(ipmi.NetFnOEM), n)
	case f.group != "":
		code, err := parseByte(f.group)
		if err != nil {
			return 0, fmt.Errorf("--group: %w", err)
		}
		return uint32(code), nil
	case f.iana != "":
		digits, base := digitsOf(f.iana)
		number, err := strconv.ParseUint(digits, base, 24)
		if err != nil {
			return 0, usage("--iana: %q is no number up to FFFFFFh; write it 343, 0x157 or 157h", f.iana)
		}
		return uint32(number), nil
	}
	return ipmi.AnyGroup, nil
}

// Times of a program that makes answers: ipmbd gives up after five seconds.
const (
	respondTimeout    = 4 * time.Second
	maxRespondTimeout = 5 * time.Second
)

// checkProgram checks the flags that make sense with a program only, or without.
func (f respondFlags) checkProgram() error {
	switch {
	case f.exec != "" && f.code != "":
		return usage("--code and --exec: the program says the completion code")
	case f.exec == "" && f.timeout != 0:
		return usage("--timeout is for --exec")
	case f.timeout != 0 && (f.timeout < ipmb.MinTimeout || f.timeout > maxRespondTimeout):
		return usage("--timeout is %v to %v: ipmbd waits no longer", ipmb.MinTimeout, maxRespondTimeout)
	}
	return nil
}
