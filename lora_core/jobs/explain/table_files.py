"""Errors of packages, model files, disks and the network.

Covered: what is missing, broken or refused outside the training itself. Not covered: errors of pictures and
captions (table_training.py).
"""

from typing import Final

from lora_core.jobs.explain._form import Row, row

_PACKAGES: Final[tuple[Row, ...]] = (
    row(
        "bitsandbytes",
        r"No bitsandbytes|No module named 'bitsandbytes"
        r"|bitsandbytes.*(not installed|has no attribute|without GPU)"
        r"|CUDA Setup failed|libbitsandbytes",
        "The package bitsandbytes, which 8-bit optimizers need, is missing or broken.",
        "Install bitsandbytes again in the engine's environment, or choose AdamW.",
        ("optimizer_type", "AdamW"),
    ),
    row(
        "xformers",
        r"No xformers|No module named 'xformers|No operator found for .memory_efficient_attention"
        r"|[Xx][Ff]ormers.*can't load",
        "The package xformers is missing, or does not fit this torch.",
        "Use sdpa instead, which is as fast.",
        ("xformers", False),
        ("sdpa", True),
    ),
    row(
        "optimizer_package",
        r"No (Prodigy|schedulefree|lion_pytorch|dadaptation|came_pytorch)\b"
        r"|No module named '(prodigyopt|schedulefree|lion_pytorch|dadaptation|came_pytorch)"
        r"|No module named 'pytorch_optimizer",
        "The package of this optimizer is missing.",
        "Install it in the engine's environment, or choose AdamW.",
        ("optimizer_type", "AdamW"),
    ),
    row(
        "torchvision",
        r"operator torchvision::nms does not exist|Could not import module '\w+'",
        "torch and torchvision do not fit each other.",
        "Run the set-up again, so that it installs the two together.",
    ),
    row(
        "engine_path",
        r"No module named '(library|networks)(\.[\w.]+)?'",
        "The engine did not find its own files.",
        "Install the engine again.",
    ),
    row(
        "dll_missing",
        r"DLL load failed|WinError 126|WinError 127|WinError 1114",
        "A library (DLL) that a package needs was not found or has the wrong version.",
        "Install Microsoft's Visual C++ Redistributable (x64), then run the set-up again.",
    ),
    row(
        "system_library",
        r"cannot open shared object file|GLIBC(XX)?_[\d.]+' not found",
        "A library of the system is missing or too old for a package.",
        "Install the library that the log names with the system's package manager, then run the set-up "
        "again.",
    ),
    row(
        "missing_package",
        r"ModuleNotFoundError: No module named |PackageNotFoundError"
        r"|This modeling file requires the following",
        "A package that this work needs is missing.",
        "Run the set-up again. For sd-scripts, install the package in the engine's own environment.",
    ),
    row(
        "package_version",
        r"ImportError: cannot import name|undefined symbol|size changed, may indicate binary incompatibility"
        r"|compiled using NumPy 1|is required for a normal functioning of this module",
        "A package that this work needs has the wrong version.",
        "Run the set-up again.",
    ),
)

_NETWORK: Final[tuple[Row, ...]] = (
    row(
        "gated_model",
        r"GatedRepo|gated repo|Access to model .* is restricted|awaiting a review from the repo authors",
        "This model is only given out after its licence was accepted, with a login.",
        "Open the model's page in a browser, accept its licence, and give this app your Hugging Face token "
        "(HF_TOKEN).",
    ),
    row(
        "model_not_found",
        r"RepositoryNotFound|Repository Not Found|is not a valid model identifier|RevisionNotFound",
        "There is no model of this name, or it is private.",
        "Check the name letter by letter. For a private model, give this app your Hugging Face token "
        "(HF_TOKEN).",
    ),
    row(
        "login_needed",
        r"\b401 Client Error|HTTP Error 401|'401 Unauthorized'"
        r"|Invalid (user token|username or password|credentials)",
        "The site did not accept the login.",
        "Give this app a valid token of that site.",
    ),
    row(
        "forbidden",
        r"\b403 Client Error|HTTP Error 403|'403 Forbidden'",
        "The site refused to give the file out.",
        "Open its page in a browser: it may need a login, an accepted licence, or another country.",
    ),
    row(
        "file_not_there",
        r"(?<!Local)EntryNotFound|\b404 Client Error|HTTP Error 404|'404 Not Found'"
        r"|does not appear to have a file named",
        "The site has no such file.",
        "Check the name and the address letter by letter; the file may have been removed.",
    ),
    row(
        "too_many_requests",
        r"\b429 Client Error|HTTP Error 429|Too Many Requests",
        "The site was asked too often and answers no more for a while.",
        "Wait an hour, then start it again. A login often allows more.",
    ),
    row(
        "site_failed",
        r"\b50[0234] Server Error|HTTP Error 50[0234]|Bad Gateway|Service Unavailable",
        "The site has a failure of its own.",
        "Wait a while, then start it again.",
    ),
    row(
        "offline_mode",
        r"offline mode is enabled|OfflineModeIsEnabled|outgoing traffic has been disabled",
        "A file is needed that is not on this computer, and this work may not use the network.",
        "Download the model, with its tokenizer, in the app first.",
    ),
    row(
        "proxy",
        r"ProxyError|407 Proxy Authentication|Tunnel connection failed|[Cc]annot connect to proxy",
        "The proxy of this network did not let the connection through.",
        "Check HTTPS_PROXY and the proxy's login, or download without the proxy.",
    ),
    row(
        "certificate",
        r"SSLError|CERTIFICATE_VERIFY_FAILED|SSLCertVerification|certificate verify failed",
        "The connection was not safe: the site's certificate was not accepted.",
        "Set the computer's clock. In a company's network, add its certificate (SSL_CERT_FILE).",
    ),
    row(
        "name_lookup",
        r"Name or service not known|Temporary failure in name resolution|getaddrinfo failed"
        r"|NameResolutionError"
        r"|nodename nor servname|No address associated with hostname",
        "The site's name could not be looked up: this computer has no internet connection, or no name "
        "server.",
        "Check the internet connection, then start it again.",
    ),
    row(
        "network_timeout",
        r"(Read|Connect|Connection|Pool)Timeout|Read timed out"
        r"|(Connection|connect|handshake|operation) .*timed out",
        "The site did not answer in time.",
        "Check the internet connection, then start it again. What was downloaded is kept.",
    ),
    row(
        "tokenizer_missing",
        r"Can't load (the )?tokenizer for|expected str, bytes or os\.PathLike object, not NoneType",
        "A small tokenizer file, which must be downloaded once, was not there.",
        "Go online once, or let tokenizer_cache_dir name a folder that has it.",
    ),
    row(
        "no_network",
        r"LocalEntryNotFoundError|We couldn't connect to 'https?://|MaxRetryError|ConnectionError"
        r"|ConnectError"
        r"|Network is unreachable|Connection (refused|reset|aborted)|No route to host",
        "A file had to be downloaded, and the site could not be reached.",
        "Check the internet connection, then start it again.",
    ),
)

_DISKS: Final[tuple[Row, ...]] = (
    row(
        "disk_full",
        r"No space left on device|\[Errno 28\]|DiskFullError|Disk quota exceeded|\[Errno 122\]|WinError 112"
        r"|PytorchStreamWriter failed writing file|unexpected pos \d+ vs \d+",
        "The disk is full.",
        "Free some space on this disk, then resume.",
    ),
    row(
        "model_broken",
        r"SafetensorError|HeaderTooLarge|InvalidHeaderLength|MetadataIncompleteBuffer"
        r"|PytorchStreamReader failed"
        r"|UnpicklingError|invalid load key|Error no file named|file in archive is not in a subdirectory",
        "A model file is not complete, or is not a model.",
        "Download it again and compare its size. A file of a few hundred bytes is only a pointer to the "
        "real one.",
    ),
    row(
        "read_only",
        r"Read-only file system|\[Errno 30\]",
        "The disk can only be read, not written.",
        "Choose a workspace on a disk that can be written. A disk that became so by itself may be failing.",
    ),
    row(
        "file_in_use",
        r"WinError 32\b|WinError 33\b|being used by another process|Text file busy",
        "Another program has a file open that had to be changed.",
        "Close programs that show the file, such as a viewer or a scanner for viruses. Then go on with it.",
    ),
    row(
        "path_too_long",
        r"File name too long|\[Errno 36\]|WinError 206",
        "A path is longer than this system allows.",
        "Use a shorter name, or a workspace nearer to the top of the disk.",
    ),
    row(
        "permission",
        r"PermissionError|\[Errno 13\]|WinError 5\b|Operation not permitted",
        "A file or folder could not be written to or read: the rights for it are missing.",
        "Allow writing to the folder that the log names, or choose another workspace.",
    ),
    row(
        "too_many_files",
        r"Too many open files|\[Errno 24\]",
        "Too many files were open at once.",
        "Use fewer loader workers, or raise the limit (ulimit -n 65536).",
        ("max_data_loader_n_workers", 0),
    ),
    row(
        "disk_error",
        r"Input/output error|\[Errno 5\]|Stale file handle|Transport endpoint is not connected"
        r"|WinError (21|1117|59|64)\b",
        "The disk, or the network drive, stopped answering.",
        "Check the cable, the network drive and the disk. Then go on with it.",
    ),
    row(
        "port_in_use",
        r"Address already in use|EADDRINUSE|WinError 10048",
        "A port that the engine needs is used by another program, often by a run that was not ended.",
        "End the other run, or restart the computer.",
    ),
    row(
        "file_missing",
        r"FileNotFoundError|No such file or directory|WinError [23]\b|NotADirectoryError",
        "A file or folder that the run needs is not there.",
        "Look at the path in the log. Put the file back, or correct the setting that names it.",
    ),
)

ROWS: Final[tuple[Row, ...]] = (*_PACKAGES, *_NETWORK, *_DISKS)
