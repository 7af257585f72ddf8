package service

// ParseChannel reads one object of the list "channels", as strictly as a file. The
// error has a line for each fault, each a [Fault] whose key begins with "channel".
func ParseChannel(data []byte) (ChannelConfig, error) {
	return parseOne(data, "channel", channelKeys, ChannelConfig.faults)
}

// ParseHost is ParseChannel for the list "hosts"; keys begin with "host".
func ParseHost(data []byte) (HostConfig, error) {
	return parseOne(data, "host", hostKeys, HostConfig.faults)
}

// parseOne reads an object that no file holds.
func parseOne[C any](data []byte, key string, known setters[C], faults func(C, string) []Fault) (C, error) {
	r := reader{data: data, places: map[string]node{}}
	var c, none C
	root, err := parseJSON(r.data)
	if err != nil {
		return none, r.unreadable(err)
	}
	r.places[key] = root
	object(&r, root, key, known, &c)
	r.faults = append(r.faults, r.complete(faults(c, key))...)
	if len(r.faults) > 0 {
		sortByPlace(r.faults)
		return none, join(r.faults)
	}
	return c, nil
}
