"""Examples of each command, as its help shows them."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "up": ("ncore up", "ncore up --port 8080"),
    "migrate": ("ncore migrate",),
    "worker": ("NCORE_DATABASE_URL=postgresql://… NCORE_BROKER_URL=redis://… ncore worker",),
    "demo": ("ncore demo",),
    "presets": ("ncore presets", "ncore presets -q"),
    "submit": (
        "ncore submit fig1 --wait",
        "ncore submit spec.json --set optimizer.steps=500 --set 'tags=[\"paper\"]'",
        "ID=$(ncore submit fig1)",
    ),
    "sweep": ("ncore sweep fig1 --axis 'regularization.features=[0.001, 0.01]' --wait --metric nc1 --out sweep.pdf",),
    "sweeps": ("ncore sweeps", "ncore sweeps --json"),
    "list": (
        "ncore list -q 'nc1.h1 < 1e-6 and tag:paper and not kind:resnet'",
        "ncore list --where 'status:failed' -q | xargs ncore retry",
        "ncore list --sort=-gap --columns gap,nc1.h1,regularization.features --csv > runs.csv",
    ),
    "show": ("ncore show 3f2a", "ncore show 3f2a --json | jq .result.verdict", "ncore show 3f2a --csv"),
    "watch": ("ncore watch 3f2a",),
    "cancel": ("ncore cancel 3f2a", "ncore list -w status:queued -q | xargs ncore cancel"),
    "retry": ("ncore retry 3f2a",),
    "export": ("ncore export 3f2a --out results", "ncore export 3f2a --zip"),
    "logs": ("ncore logs 3f2a", "ncore logs 3f2a --json"),
    "workers": ("ncore workers",),
    "delete": ("ncore delete 3f2a 77b1", "ncore delete --sweep 90c4"),
    "prune": ("ncore prune --days 30 --status failed --dry-run",),
    "sync": ("ncore sync", "ncore sync ncore-runs/my-CNN-1b9d6bcd"),
    "import": (
        "ncore import runs/resnet --classes 10 --tag paper",
        "ncore import seed0.csv seed1.csv --seed 0 --seed 1 --name 'my CNN'",
    ),
    "theory": ("ncore theory fig4", "ncore theory spec.json --set regularization.features=0.01 --json"),
    "run": ("ncore run fig1 --out results",),
    "measure": (
        "ncore measure features.npz",
        "ncore measure epochs/ --json",
        "ncore measure --model nets:make --checkpoints 'ckpt/*.pt' --data digits --layers layer3 layer4",
    ),
    "compare": ("ncore compare 3f2a 77b1", "ncore compare 3f2a 77b1 --metric nc1 --out nc1.pdf"),
    "figure": (
        "ncore figure 3f2a --out figure.pdf --panels nc1,nc2 --style paper",
        "ncore figure 3f2a 77b1 --metric nc1,nc3 --out nc1.svg --title none --legend direct",
        "ncore figure 3f2a 77b1 05aa --color regularization.features --xscale linear --out decay.png --dpi 300",
        "ncore figure 3f2a --geometry --step 100 --layer h1 --out gram.svg",
        "ncore figure 3f2a --singular-values --out spectra.pdf",
    ),
    "open": ("ncore open", "ncore open 3f2a"),
    "tag": ("ncore tag 3f2a", "ncore tag 3f2a paper 'section 4' --remove draft"),
    "note": ("ncore note 3f2a", "ncore note 3f2a 'Diverges above *0.3*.'", "ncore note 3f2a - < notes.md"),
    "archive": ("ncore archive 3f2a", "ncore archive 3f2a --undo"),
    "completion": (
        'eval "$(ncore completion bash)"',
        'eval "$(ncore completion zsh)"',
        "ncore completion fish | source",
    ),
}


def examples_of(command: str) -> str:
    """The end of the command's help."""
    lines = "\n".join(f"  {line}" for line in EXAMPLES.get(command, ()))
    return f"examples:\n{lines}" if lines else ""
