#!/bin/sh
# Terraform's provider, whose module goes by its name of before: asked for by that, it is found by the replacement.
set -eu
if ! command -v terraform > /dev/null; then
  echo "there is no terraform on this machine; Debian has none, HashiCorp does" >&2
  exit 1
fi
work=../../../.interop/terraform
mkdir -p "$work"
cp go.mod "$work"
cd "$work"
go build -mod=mod -o terraform-provider-rabbitmq github.com/terraform-providers/terraform-provider-rabbitmq
cat > terraformrc <<end
provider_installation {
  dev_overrides {
    "cyrilgdn/rabbitmq" = "$PWD"
  }
}
end
