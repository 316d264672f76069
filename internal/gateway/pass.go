package gateway

import (
	"log"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"time"

	"corral/internal/call"
	"corral/internal/relay"
	"corral/internal/tenant"
)

// manage hands a request that manages models to their desk, and has it counted and logged like a call.
func (g *Gateway) manage(w http.ResponseWriter, r *http.Request) {
	arrival := time.Now()
	o := g.Models.Serve(w, r)
	record := call.Record{
		ID: r.Header.Get("X-Request-Id"), Path: r.URL.Path, Tenant: tenant.OfAddr(r.RemoteAddr), Arrival: arrival,
		Instance: o.Instances, Total: time.Since(arrival), Status: o.Status, Outcome: call.OutcomeOf(o.Status), Error: o.Error,
	}
	switch {
	case r.Context().Err() != nil:
		record.Outcome = call.OutcomeLeft
	case o.Error != "" && o.Status < http.StatusBadRequest:
		record.Outcome = call.OutcomeBroken
	}
	g.Desk.Observer.Observe(record)
}

// pass hands a request to the first healthy instance in file order: routes that Corral does not know.
func (g *Gateway) pass(w http.ResponseWriter, r *http.Request) { g.passOr(w, r, nil) }

// passOr is pass for a request that Corral could not understand: without an instance it is answered with why.
func (g *Gateway) passOr(w http.ResponseWriter, r *http.Request, unclear error) {
	healthy := g.Fleet.Healthy()
	switch {
	case len(healthy) > 0:
		g.passTo(w, r, healthy[0])
	case unclear != nil:
		g.reject(w, r, http.StatusBadRequest, unclear.Error())
	default:
		g.noInstance(w, r)
	}
}

// passTo hands a request to an instance as it is, and the answer back as it comes.
func (g *Gateway) passTo(w http.ResponseWriter, r *http.Request, target *relay.Target) {
	proxy := httputil.ReverseProxy{
		Transport: target.Client,
		ErrorLog:  log.New(slogWriter{g.Log, target.Name}, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL = target.At(p.In.URL.RequestURI())
			p.Out.Host = target.URL.Host
			from := p.Out.Header
			p.Out.Header = make(http.Header, len(from)+1)
			target.PrepareHeader(p.Out.Header, from)
		},
		ModifyResponse: func(resp *http.Response) error {
			// What Corral has said itself of origins stands.
			resp.Header.Del("Access-Control-Allow-Origin")
			resp.Header.Del("Vary")
			resp.Header.Set("X-Corral-Instance", target.Name)
			g.observe(r, target.Name, resp.StatusCode, "")
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // the client has left
			}
			g.Fleet.Failed(target.Name, err)
			g.reject(w, r, http.StatusBadGateway, "instance "+target.Name+" did not answer")
		},
	}
	proxy.ServeHTTP(w, r)
}

// slogWriter carries ReverseProxy's own complaints, such as an answer that broke off, into the log.
type slogWriter struct {
	log      *slog.Logger
	instance string
}

func (s slogWriter) Write(p []byte) (int, error) {
	s.log.Warn("answer broke off", "instance", s.instance, "error", string(p))
	return len(p), nil
}
