package openapi

// NewConverter makes a converter anew, so that the cost of the first call can be measured.
var NewConverter = newConverter
