{{- define "xpullm.fullname" -}}
{{- if contains "xpullm" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-xpullm" (.Release.Name | trunc 43 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "xpullm.selector" -}}
app.kubernetes.io/name: xpullm
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "xpullm.labels" -}}
{{ include "xpullm.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "xpullm.serviceAccount" -}}
{{- default (include "xpullm.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "xpullm.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Rules in the namespaces that are watched: exactly what the operator calls
(tests/cluster/test_rbac.py). */}}
{{- define "xpullm.namespacedRules" -}}
- apiGroups: [xpullm.io]
  resources: [llmdeployments]
  verbs: [get, list, watch]
- apiGroups: [xpullm.io]
  resources: [llmdeployments/status]
  verbs: [patch]
# Owner references with blockOwnerDeletion need this where OwnerReferencesPermissionEnforcement is on.
- apiGroups: [xpullm.io]
  resources: [llmdeployments/finalizers]
  verbs: [update]
- apiGroups: [xpullm.io]
  resources: [tuningrecords]
  verbs: [get, list, watch, create]
- apiGroups: [xpullm.io]
  resources: [tuningrecords/status]
  verbs: [patch]
# Owner references remove them: nothing is deleted by the operator.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
# Deleted when the spec gives the cache up, or pods no longer refer to the template.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [resource.k8s.io]
  resources: [resourceclaimtemplates]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps, pods]
  verbs: [list, watch]
# Listed for single pods that say nothing themselves.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create]
{{- end -}}
