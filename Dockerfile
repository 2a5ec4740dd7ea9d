# A small image with one static binary: docker build -t orderflow:local .

FROM golang:1.26.6-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath \
    -ldflags "-s -w -X main.buildVersion=${VERSION}" \
    -o /out/orderflow ./cmd/orderflow

# Busybox is about 1.5 MB: unlike an empty image it has the wget that healthchecks call.
FROM busybox:1.37.0-musl
LABEL org.opencontainers.image.title="orderflow" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/orderflow /usr/local/bin/orderflow
WORKDIR /orderflow
COPY LICENSE NOTICE THIRD_PARTY_NOTICES sbom.cdx.json ./
COPY config config
# By number, since an orchestrator can check that it is not root without knowing any names.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/orderflow"]
CMD ["--help"]
