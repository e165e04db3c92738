# What our authorizer does about the sample, said in Rego for opa-envoy-plugin: one genuine, unexpired mandate of this
# issuer and audience, whose ids are not revoked, with the scopes of the operation.
package caracal.authz

import rego.v1

default allow := false

allow if {
	genuine
	not data.revoked[claims.jti]
	not data.revoked[claims.sid]
	claims.zone_id == data.zone
	request.host == data.host
	some operation in data.operations
	operation.method == request.method
	glob.match(operation.path, ["/"], path)
	every scope in operation.scopes { scope in held }
}

request := input.attributes.request.http

path := split(request.path, "?")[0]

token := substring(request.headers.authorization, count("Bearer "), -1) if startswith(request.headers.authorization, "Bearer ")

verified := io.jwt.decode_verify(token, {"cert": data.jwks, "alg": "ES256", "iss": data.issuer, "aud": data.audience})

genuine if verified[0]

claims := verified[2]

held := split(claims.scope, " ")
