"""A plugin of several stages, each in a module of its own."""

@IMPORTS@
from selvedge import told
from wit_world import exports

@EXPORTS@


class Lifecycle(exports.Lifecycle):
    @told
    def configure(self, config: str) -> None:
        # Each stage reads the keys that are its own. What is nobody's is refused before, by the schema in manifest.json.
        for stage in (@STAGES@):
            stage.Lifecycle().configure(config)
