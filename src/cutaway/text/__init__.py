class Tokenizer:
    @staticmethod
    def load(folder):
        return None
