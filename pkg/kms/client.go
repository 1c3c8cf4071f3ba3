package kms

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	envelopemetrics "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/metrics"
	kmsapi "k8s.io/kms/apis/v2"
	kmsservice "k8s.io/kms/pkg/service"
)

// client calls one plugin. A call to a plugin that is not there fails at once, since what waits for it is a request.
type client struct {
	name, endpoint string
	timeout        time.Duration
	connection     *grpc.ClientConn
	api            kmsapi.KeyManagementServiceClient
}

func newClient(name, endpoint string, timeout time.Duration) (*client, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "unix" {
		return nil, fmt.Errorf("connecting to KMS %s: %q is no socket", name, endpoint)
	}
	path := u.Path
	if strings.HasPrefix(path, "/@") {
		path = path[1:] // an abstract socket, as the API server's library spells it
	}
	// passthrough: the path is no name to be resolved, and the dialer knows it.
	connection, err := grpc.NewClient("passthrough:///kms",
		grpc.WithAuthority("localhost"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: retryPeriod, Multiplier: 1, MaxDelay: retryPeriod},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			begun := time.Now()
			err := invoke(ctx, method, req, reply, cc, opts...)
			envelopemetrics.RecordKMSOperationLatency(name, method, time.Since(begun), err)
			return err
		}))
	if err != nil {
		return nil, fmt.Errorf("connecting to KMS %s: %w", name, err)
	}
	return &client{name: name, endpoint: endpoint, timeout: timeout, connection: connection, api: kmsapi.NewKeyManagementServiceClient(connection)}, nil
}

func (c *client) close() { _ = c.connection.Close() }

// failed says which plugin it was: the API server gives this to whoever asked.
func (c *client) failed(doing string, err error) error {
	return fmt.Errorf("%s by the KMS plugin %s at %s: %w", doing, c.name, c.endpoint, err)
}

func (c *client) status(ctx context.Context) (*kmsservice.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := c.api.Status(ctx, &kmsapi.StatusRequest{})
	if err != nil {
		return nil, c.failed("answering for its health", err)
	}
	return &kmsservice.StatusResponse{Version: r.Version, Healthz: r.Healthz, KeyID: r.KeyId}, nil
}

func (c *client) encrypt(ctx context.Context, uid string, plain []byte) (*kmsservice.EncryptResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := c.api.Encrypt(ctx, &kmsapi.EncryptRequest{Uid: uid, Plaintext: plain})
	if err != nil {
		return nil, c.failed("encrypting a data key", err)
	}
	return &kmsservice.EncryptResponse{Ciphertext: r.Ciphertext, KeyID: r.KeyId, Annotations: r.Annotations}, nil
}

func (c *client) decrypt(ctx context.Context, uid string, req *kmsservice.DecryptRequest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := c.api.Decrypt(ctx, &kmsapi.DecryptRequest{Uid: uid, Ciphertext: req.Ciphertext, KeyId: req.KeyID, Annotations: req.Annotations})
	if err != nil {
		return nil, c.failed("decrypting a data key", err)
	}
	return r.Plaintext, nil
}
