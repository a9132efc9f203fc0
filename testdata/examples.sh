# What the examples of the commands' help name, for the test that types them: `. examples.sh` makes a repository, in ~/gitops
# and at ssh://git@example.com/team/gitops, that the cluster has, and images in ghcr.io; who reads its secrets is the
# caller, and Bob. `before COMMAND` is what has happened when the examples of COMMAND are typed.

# no wants the answer no: there is a difference, or there would be.
no() {
	code=0
	"$@" || code=$?
	[ $code -eq 1 ]
}

before() {
	case "$1" in
	"kubectl gitops resume") kubectl gitops suspend apps ;;
	"kubectl gitops secret create") rm apps/db/secret.yaml ;;
	"kubectl gitops secret create tls") rm apps/web/tls.yaml ;;
	"kubectl gitops secret encrypt") sops decrypt -i apps/db/secret.yaml ;;
	"kubectl gitops sync")
		kubectl gitops resume apps
		git add -A
		git commit -q -m "what the examples made"
		git pull -q --rebase
		git push -q
		;;
	esac
}

mkdir -p ~/gitops/clusters/vps ~/gitops/apps/api ~/gitops/apps/db ~/gitops/apps/web
cd ~/gitops
git init -q
git remote add origin ssh://git@example.com/team/gitops
for who in ada bob new; do age-keygen -o ~/$who.key 2>/dev/null; done
cp ~/new.key new.agekey
cat >.gitignore <<'END'
*.key
*.agekey
/*.yaml
credentials
END
cat >.sops.yaml <<END
creation_rules:
  - path_regex: \.yaml$
    encrypted_regex: ^(data|stringData)$
    age: $(age-keygen -y ~/ada.key),$(age-keygen -y ~/bob.key)
END
cat >clusters/vps/apps.yaml <<'END'
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: apps
  namespace: flux-system
spec:
  interval: 10m
  path: ./apps
  prune: true
  sourceRef:
    kind: GitRepository
    name: flux-system
  decryption:
    provider: sops
    secretRef:
      name: sops-age
END
cat >clusters/vps/images.yaml <<'END'
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImageUpdateAutomation
metadata:
  name: apps
  namespace: flux-system
spec:
  interval: 10m
  sourceRef:
    kind: GitRepository
    name: flux-system
  git:
    checkout:
      ref:
        branch: main
    commit:
      author:
        name: bot
        email: bot@example.com
  update:
    path: ./apps
END
sed 's/name: apps/name: preview/' clusters/vps/apps.yaml >preview.yaml
resources() { printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [%s]\n' "$2" >"apps/$1/kustomization.yaml"; }
resources . "api, db, web"
resources api "cronjob.yaml, image.yaml"
resources db secret.yaml
resources web ""
for of in db web; do echo "namespace: default" >>apps/$of/kustomization.yaml; done
cat >apps/api/cronjob.yaml <<'END'
apiVersion: batch/v1
kind: CronJob
metadata:
  name: api
  namespace: default
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: api
              image: ghcr.io/team/api:1.0.0 # {"$imagepolicy": "flux-system:api"}
END
cat >apps/api/image.yaml <<'END'
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImageRepository
metadata:
  name: api
  namespace: flux-system
spec:
  image: ghcr.io/team/api
  interval: 10m
---
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImagePolicy
metadata:
  name: api
  namespace: flux-system
spec:
  imageRepositoryRef:
    name: api
  policy:
    semver:
      range: "*"
END
sed '1,/^---$/d' apps/api/image.yaml >policy.yaml
printf '1.0.0\n1.1.0\n' >tags.txt
export SOPS_AGE_KEY_FILE=~/ada.key EDITOR=true TOKEN=hunter2
printf hunter2 >~/password
cp ~/password credentials
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=web -days 9 -keyout web.key -out web.crt 2>/dev/null
kubectl gitops secret create generic db -n default --from-file=password="$HOME/password" --out apps/db/secret.yaml
git add .
git commit -q -m "the team's"
git push -q -u origin main
printf %s "$REGISTRY_TOKEN" | crane auth login -u bot --password-stdin ghcr.io
tar -cf ~/layer.tar tags.txt
for tag in 1.0.0 1.1.0 1.2.0; do crane append --new_layer ~/layer.tar --new_tag ghcr.io/team/api:$tag; done
kubectl create namespace ci
kubectl gitops sync
