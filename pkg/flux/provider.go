package flux

// IsCloud reports whether a provider, as a spec.provider names it, is one of the
// clouds.
func IsCloud(provider string) bool { return CloudLogin(provider) != "" }

// CloudLogin is what to type so that this machine has a login at the cloud that a
// spec.provider names; "" for what is none.
func CloudLogin(provider string) string {
	switch provider {
	case "aws":
		return "aws sso login; or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	case "azure":
		return "az login; or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
	case "gcp":
		return "gcloud auth application-default login; or set GOOGLE_APPLICATION_CREDENTIALS"
	}
	return ""
}
