package dbusapi

// hostProperties is the table of the properties of a host interface.
func hostProperties() []property {
	return []property{
		{name: "Name", signature: "s", get: func(v view) any { return v.host.Name }},
		{name: "Type", signature: "s", get: func(v view) any { return v.host.Type }},
		{name: "Path", signature: "s", get: func(v view) any { return v.host.Path }},
		{name: "Channel", signature: "y", get: func(v view) any { return byte(v.host.Channel) }},
		{name: "Handler", signature: "s", get: func(v view) any { return v.host.Handler }},
		{name: "State", signature: "s", get: func(v view) any { return string(v.host.State) }},
		{name: "StateReason", signature: "s", get: func(v view) any { return v.host.Reason }},
		{name: "Statistics", signature: "a{st}", get: func(v view) any { return v.object.host.statistics() }, silent: true},
	}
}
