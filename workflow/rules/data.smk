rule generate_equations:
    input:
        checked_data,
    output:
        train=f"{DATA}/train.csv",
        valid=f"{DATA}/valid.csv",
        vocabulary=f"{DATA}/vocabulary.json",
        manifest=f"{DATA}/manifest.json",
    log:
        "<logs>/{point}generate_equations/data_{data}.log",
    benchmark:
        "<benchmarks>/{point}generate_equations/data_{data}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        version=version("data", "data"),
        code=fingerprint("generate_equations.py"),
    script:
        "../scripts/generate_equations.py"


rule label_domains:
    input:
        checked_labels,
        train=f"{DATA}/train.csv",
        valid=f"{DATA}/valid.csv",
        vocabulary=f"{DATA}/vocabulary.json",
        manifest=f"{DATA}/manifest.json",
        own=own_labels_file,
    output:
        train=f"{LABELS}/train.csv",
        valid=f"{LABELS}/valid.csv",
        manifest=f"{LABELS}/manifest.json",
    log:
        "<logs>/{point}label_domains/domain_{domain}_data_{data}.log",
    benchmark:
        "<benchmarks>/{point}label_domains/domain_{domain}_data_{data}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        domain=version("domain", "domains"),
        code=fingerprint("label_domains.py"),
    script:
        "../scripts/label_domains.py"
