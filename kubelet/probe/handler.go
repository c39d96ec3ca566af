package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	cri "k8s.io/cri-api/pkg/apis"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// UserAgent is how web servers see probes.
const UserAgent = "kube-probe/1.37"

// maxBody is how much of an answer is kept for the message.
const maxBody = 10 << 10

// Handler sends single probes.
type Handler struct {
	Runtime cri.RuntimeService
	Dial    func(ctx context.Context, network, address string) (net.Conn, error) // nil: the usual one
}

// Do sends one probe. It returns what the container answered, and an error if that was not a success.
func (h Handler) Do(ctx context.Context, t Target, p *corev1.Probe) (string, error) {
	timeout := time.Duration(p.TimeoutSeconds) * time.Second
	if p.Exec != nil {
		return h.Exec(ctx, t.Container.ID, p.Exec.Command, timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case p.HTTPGet != nil:
		return h.HTTP(ctx, t, p.HTTPGet, UserAgent)
	case p.TCPSocket != nil:
		return h.TCP(ctx, t, p.TCPSocket)
	case p.GRPC != nil:
		return h.GRPC(ctx, t, p.GRPC)
	default:
		return "", errkind.New(errkind.Invalid, "the probe has no handler")
	}
}

// Exec runs a command in a container; any exit code but 0 is a failure.
func (h Handler) Exec(ctx context.Context, id string, command []string, timeout time.Duration) (string, error) {
	stdout, stderr, err := h.Runtime.ExecSync(ctx, id, command, timeout)
	output := strings.TrimSpace(string(stdout) + string(stderr))
	if len(output) > maxBody {
		output = output[:maxBody]
	}
	var exit interface{ ExitStatus() int }
	switch {
	case err == nil:
		return output, nil
	case errors.As(err, &exit) && output != "":
		return output, errors.New(output)
	default:
		return output, err
	}
}

// HTTP asks a web server; every answer below 400 is a success.
func (h Handler) HTTP(ctx context.Context, t Target, action *corev1.HTTPGetAction, agent string) (string, error) {
	request, err := newRequest(ctx, t, action, agent)
	if err != nil {
		return "", err
	}
	client := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // a container has no name to verify
			DisableKeepAlives: true, DialContext: h.dialer(),
		},
		// Another host's answer says nothing about this container: such a redirect is where the question ends.
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if next.URL.Hostname() != request.URL.Hostname() || len(via) >= 10 {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusBadRequest {
		return string(body), fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
	}
	return string(body), nil
}

func newRequest(ctx context.Context, t Target, action *corev1.HTTPGetAction, agent string) (*http.Request, error) {
	address, err := address(t, action.Host, action.Port)
	if err != nil {
		return nil, err
	}
	path, err := url.Parse(action.Path)
	if err != nil {
		path = &url.URL{Path: action.Path}
	}
	path.Scheme, path.Host = "http", address
	if action.Scheme != "" {
		path.Scheme = strings.ToLower(string(action.Scheme))
	}
	if !strings.HasPrefix(path.Path, "/") {
		path.Path = "/" + path.Path
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, path.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, header := range action.HTTPHeaders {
		request.Header.Add(header.Name, header.Value)
	}
	if _, ok := request.Header["User-Agent"]; !ok {
		request.Header.Set("User-Agent", agent)
	}
	if _, ok := request.Header["Accept"]; !ok {
		request.Header.Set("Accept", "*/*")
	}
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	return request, nil
}

// TCP succeeds if something accepts a connection.
func (h Handler) TCP(ctx context.Context, t Target, action *corev1.TCPSocketAction) (string, error) {
	address, err := address(t, action.Host, action.Port)
	if err != nil {
		return "", err
	}
	conn, err := h.dialer()(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	return "", conn.Close()
}

// GRPC asks the standard health service.
func (h Handler) GRPC(ctx context.Context, t Target, action *corev1.GRPCAction) (string, error) {
	target := net.JoinHostPort(t.IP, strconv.Itoa(int(action.Port)))
	conn, err := grpc.NewClient("passthrough:///"+target,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent(UserAgent),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return h.dialer()(ctx, "tcp", address) }))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	service := ""
	if action.Service != nil {
		service = *action.Service
	}
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		return "", err
	}
	if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return "", fmt.Errorf("service unhealthy (responded with %q)", answer.Status.String())
	}
	return "", nil
}

func (h Handler) dialer() func(context.Context, string, string) (net.Conn, error) {
	if h.Dial != nil {
		return h.Dial
	}
	return (&net.Dialer{}).DialContext
}

// address is where a probe goes: the pod's address unless the probe names another, and a port by number or by its name.
func address(t Target, host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = t.IP
	}
	if host == "" {
		return "", errkind.New(errkind.Unavailable, "the pod has no address yet")
	}
	number := port.IntValue()
	if port.Type == intstr.String {
		for _, p := range t.Spec.Ports {
			if p.Name == port.StrVal {
				number = int(p.ContainerPort)
			}
		}
	}
	if number < 1 || number > 65535 {
		return "", errkind.New(errkind.Invalid, "couldn't find port: %s", port.String())
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}
