package patch

type shapes struct{}

func newShapes() *shapes { return &shapes{} }
