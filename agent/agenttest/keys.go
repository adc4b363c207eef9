package agenttest

// Two keys, as "base64" writes 48 random bytes.
const (
	FirstKey  = "Xq0q4cJmVb1ZkHq3sZ5dGd4wq2m1n9o0p8r7s6t5u4v3w2x1y0zAaBbCcDdEeFfG"
	SecondKey = "R2m1n9o0p8r7s6t5u4v3w2x1y0zAaBbCcDdEeFfGXq0q4cJmVb1ZkHq3sZ5dGd4w"
)
