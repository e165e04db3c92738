# The platform's rules. Nobody else writes into this package.
#
# Input: action ("mint" or "use"), application, resource, scopes (a set), labels (an array).
#
# Data, all of it values that were typed and checked on upload and again on load:
#   policy.grants[resource][application][label]  the scopes of a role, a set
#   policy.confinement[label]                    the scopes that a session with the label may have, a set
#   policy.restrict.zone                         whether the zone is held back
#   policy.restrict.resources[resource]          the resources that are
#   policy.restrict.applications[application]    the applications that are
#   policy.gated                                 the scopes that need an approval, a set
#
# It is allowed only when every condition below holds. What none of the rules of `result` covers is undefined, and
# undefined refuses.
package caracal.authz

import rego.v1

result := {"decision": "allow"} if {
	input.action in {"mint", "use"}
	unrestricted
	covered
	confined
	approved
} else := {"decision": "deny", "code": "zone_restricted"} if {
	data.policy.restrict.zone
} else := {"decision": "deny", "code": "application_restricted"} if {
	data.policy.restrict.applications[input.application]
} else := {"decision": "deny", "code": "resource_restricted"} if {
	data.policy.restrict.resources[input.resource]
} else := {"decision": "deny", "code": "policy_not_granted"} if {
	not roles
} else := {"decision": "deny", "code": "confinement_violation"} if {
	not confined
} else := {"decision": "deny", "code": "role_scope_mismatch"} if {
	not covered
} else := {"decision": "deny", "code": "approval_required"} if {
	not approved
}

unrestricted if {
	data.policy.restrict.zone == false
	is_object(data.policy.restrict.applications)
	is_object(data.policy.restrict.resources)
	not data.policy.restrict.applications[input.application]
	not data.policy.restrict.resources[input.resource]
}

roles := data.policy.grants[input.resource][input.application]

# One role of the session has all the scopes.
covered if {
	count(input.scopes) > 0
	some label in input.labels
	count(input.scopes - roles[label]) == 0
}

# No label of the session confines it to other scopes. Data that is not there confines to nothing at all.
confined if {
	is_object(data.policy.confinement)
	every label in input.labels {
		within(label)
	}
}

within(label) if not data.policy.confinement[label]

within(label) if count(input.scopes - data.policy.confinement[label]) == 0

# No scope needs an approval.
approved if count(input.scopes & data.policy.gated) == 0
